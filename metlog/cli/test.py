"""`metlog test`: the tests that a configuration holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["test"]


def test(
    config: Annotated[Path, typer.Argument(help=r"TOML file with \[\[tests]].")],
) -> None:
    r"""Run the \[\[tests]] of a configuration: an event in; the event out, `dropped`, or the senders it reaches."""
    from metlog.diagnose.selftest import run
    from metlog.errors import ConfigError

    try:
        results = run(config)
    except ConfigError as error:
        for line in error.problems:
            typer.echo(f"metlog test: {line}", err=True)
        raise typer.Exit(2) from None
    if not results:
        typer.echo(f"metlog test: {config} has no [[tests]]; docs/configuration.md shows one", err=True)
        raise typer.Exit(2)
    failed = 0
    for result in results:
        typer.echo(f"{'ok    ' if result.passed else 'FAILED'}  {result.name}")
        for line in result.differences:
            typer.echo(f"        {line}")
        failed += not result.passed
    typer.echo(f"{len(results) - failed} passed, {failed} failed")
    if failed:
        raise typer.Exit(1)
