"""`metlog plugins`: what is installed, by name."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["plugins"]


def plugins(
    kind: Annotated[
        str | None, typer.Argument(help="encoder, sender, filter, plugin, input, output or report.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Load each one, and say what is missing.")] = False,
) -> None:
    """List every installed encoder, sender, filter, input and output, and where it comes from."""
    from metlog.cli._data import fail
    from metlog.errors import ConfigError
    from metlog.plugins import GROUPS, installed, load, suggest

    if kind is not None and kind not in GROUPS:
        fail("plugins", f"{kind!r}: no such kind; {suggest(kind, GROUPS)}", 2)
    found = [plugin for name in ([kind] if kind else GROUPS) for plugin in installed(name)]
    rows = [("kind", "name", "target", "origin"), *found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    failed = 0
    for number, row in enumerate(rows):
        line = "  ".join([*(text.ljust(width) for text, width in zip(row[:3], widths, strict=True)), row[3]])
        if check and number:
            try:
                load(row[0], row[1], row[1])
            except ConfigError as error:
                failed += 1
                line += f"  FAILED: {str(error).partition('cannot be loaded: ')[2] or error}"
        typer.echo(line.rstrip())
    if failed:
        raise typer.Exit(1)
