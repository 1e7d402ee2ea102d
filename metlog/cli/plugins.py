"""`metlog plugins`: what is installed, by kind."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Annotated

import typer

from metlog.cli.common import UsageError
from metlog.cli.terminal import legible
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
    rows = [
        {**plugin._asdict(), "about": about(plugin.target), **({"state": _state(plugin)} if check else {})}
        for plugin in found
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        _print(rows, ["kind", "name", "about", "origin", *(["state"] if check else [])])
    if any(row.get("state", "ok") != "ok" for row in rows):
        raise typer.Exit(1)


def about(target: str) -> str:
    """The first sentence of what an entry point's class or function says about itself, read without running it.

    So it is there too when an extra is missing that its module imports. Empty when there is none, or it stands elsewhere.
    """
    module, _, name = target.partition(":")
    try:
        spec = importlib.util.find_spec(module)
        text = importlib.util.decode_source(Path(spec.origin).read_bytes()) if spec and spec.origin else ""
        body: list[ast.stmt] = ast.parse(text).body
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    for statement in body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) and statement.name == name:
            paragraph = (ast.get_docstring(statement) or "").partition("\n\n")[0]
            return re.split(r"(?<=[.!?])\s|:$", " ".join(paragraph.split()), maxsplit=1)[0]
    return ""


def _state(plugin: Plugin) -> str:
    try:
        load(plugin.kind, plugin.name, f"{plugin.kind}s")
    except ConfigError as error:
        return str(error).rpartition(": the ")[2] or str(error)
    return "ok"


def _print(rows: list[dict[str, str]], columns: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name in {"kind", "name"})
    for row in rows:
        table.add_row(*(Text(legible(row[name])) for name in columns))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=10_000, color_system=None)).print(table)
