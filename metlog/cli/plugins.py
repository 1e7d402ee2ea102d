"""`metlog plugins`: what is installed, by kind."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from metlog.cli.common import UsageError
from metlog.errors import ConfigError
from metlog.plugins import GROUPS, Plugin, installed, load


def plugins(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help=f"One of {', '.join(GROUPS)}.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Load each one, and say what is missing; status 1 if any.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Every installed encoder, sender, filter, client extension, input, output and report, and where it comes from."""
    if kind is not None and kind not in GROUPS:
        raise UsageError(f"{kind!r} is no kind of plugin; there is {', '.join(GROUPS)}")
    found = [plugin for group in GROUPS if kind in {None, group} for plugin in installed(group)]
    states = [_state(plugin) for plugin in found] if check else None
    if as_json:
        rows = [plugin._asdict() | ({"state": states[n]} if states else {}) for n, plugin in enumerate(found)]
        print(json.dumps(rows, indent=1))
    else:
        _print(found, states)
    if states and any(state != "ok" for state in states):
        raise typer.Exit(1)


def _state(plugin: Plugin) -> str:
    try:
        load(plugin.kind, plugin.name, f"{plugin.kind}s")
    except ConfigError as error:
        return str(error).rpartition(": the ")[2] or str(error)
    return "ok"


def _print(found: list[Plugin], states: list[str] | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for name in ("kind", "name", "target", "origin", *(("state",) if states else ())):
        table.add_column(name, overflow="fold")
    for number, plugin in enumerate(found):
        cells = [*plugin, *((states[number],) if states else ())]
        table.add_row(*(Text(cell) for cell in cells))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=10_000, color_system=None)).print(table)
