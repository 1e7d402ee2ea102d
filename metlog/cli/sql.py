"""`metlog sql`: SQL by line editor."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from metlog.cli.common import DataOption
from metlog.cli.engine import EngineOption, MemoryOption, TimeoutOption, opened
from metlog.cli.output import Format

__all__ = ["sql"]


def sql(
    data: DataOption = None,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="How results are written; \\format changes it.")
    ] = Format.table,
    timeout: TimeoutOption = None,
    memory: MemoryOption = "2GB",
    engine: EngineOption = None,
) -> None:
    """SQL by line editor: history, completion with Tab, several lines up to `;`. \\? says what else there is.

    Without a terminal it runs the statements and commands of standard input, and ends with 1 at the first that fails.
    """
    from metlog.cli.sqlshell import Shell

    with opened(engine, data, timeout=timeout, memory=memory) as source:
        shell = Shell(source, format)
        if not shell.run(sys.stdin):
            raise typer.Exit(1)
