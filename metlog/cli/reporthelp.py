"""The parameters of a report as options of `metlog report NAME`: in its help, and behind the Tab key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from typer.core import TyperCommand

from metlog.cli.common import data_folder
from metlog.cli.words import columns_for_shell, fields_for_shell
from metlog.errors import MetlogError
from metlog.reports import Library
from metlog.reports.spec import BUCKETS, Parameter

if TYPE_CHECKING:
    from metlog.reports import Report

__all__ = ["ReportCommand"]

_META: Final = "metlog.report.words"
_OWN: Final = frozenset({"since", "until", "tz"})
"""Parameters that are options of the command itself."""


def _option_of(words: Sequence[str], *names: str) -> str | None:
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else next(iter(words[at + 1 :]), None)
    return None


def _report_of(words: Sequence[str]) -> Report | None:
    """The report that is named among the words of a command line."""
    data, more = _option_of(words, "--data"), _option_of(words, "--reports")
    folder = data_folder(Path(data) if data and "://" not in data else None)
    try:
        library = Library(folder if folder.is_dir() else None, more)
    except MetlogError:
        return None
    return next((library.reports[word] for word in words if word in library.reports), None)


def _choices(parameter: Parameter) -> Sequence[str]:
    if parameter.type == "boolean":
        return ("true", "false")
    return parameter.choices or (BUCKETS if parameter.type == "bucket" else ())


class ReportCommand(TyperCommand):
    """`metlog report`, which takes the parameters of the report that it is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps the words for the help, which is shown before they are parsed."""
        ctx.meta[_META] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help of the command, and the parameters of the report."""
        super().format_help(ctx, formatter)
        report = _report_of(ctx.meta.get(_META, []))
        if report is None:
            return
        from rich.console import Console
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for key, parameter in report.parameters.items():
            if key not in report.used:
                continue
            wants = " | ".join(_choices(parameter)) or parameter.type
            default = f" [default: {parameter.default}]" if parameter.default != "" else ""
            table.add_row(
                Text(f"--{key.replace('_', '-')}", "bold cyan"),
                Text(wants, "bold yellow"),
                Text(f"{parameter.help}{default}"),
            )
        Console().print(
            Panel(table, title=Text(f"Parameters of {report.name}"), title_align="left", border_style="dim")
        )

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Names of the report's own parameters, and values of the one before the cursor."""
        found = list(super().shell_complete(ctx, incomplete))
        words = ctx.meta.get(_META, [])
        report = _report_of(words)
        if report is None:
            return found
        item = type(super().shell_complete(ctx, "--")[0])
        last = words[-1] if words else ""
        key = last.removeprefix("--").replace("-", "_")
        if last.startswith("--") and key in report.parameters:
            return [item(value) for value in self._values(ctx, key, report.parameters[key], incomplete)]
        names = (f"--{name.replace('_', '-')}" for name in report.used if name not in _OWN)
        return [
            *found,
            *(item(name) for name in sorted(names) if name.startswith(incomplete) and incomplete.startswith("-")),
        ]

    def _values(self, ctx: Any, key: str, parameter: Parameter, incomplete: str) -> list[str]:
        if key in {"type", "logger"}:
            return columns_for_shell(key)(ctx, incomplete)
        found = fields_for_shell(ctx) if key == "field" else _choices(parameter)
        return [value for value in found if value.startswith(incomplete)]
