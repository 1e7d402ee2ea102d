"""`metlog report`: the built-in reports and one's own, as a table or a chart, or as a check for cron."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from metlog.cli.common import DataOption, UsageError, data_folder, open_output
from metlog.cli.engine import EngineOption, asking, opened
from metlog.cli.output import Format, SpreadsheetOption, print_table
from metlog.cli.terminal import legible
from metlog.errors import ConfigError
from metlog.lake.values import Column
from metlog.reports import COMMON
from metlog.reports.charts.drawing import Drawer, Kind
from metlog.reports.spec import Parameter

if TYPE_CHECKING:
    from metlog.reports import Library, Report, ReportResult
    from metlog.reports.conditions import Condition

__all__ = ["report"]

_FAILED: Final = 3
_KINDS: Final[dict[str, Kind]] = {".svg": "svg", ".png": "png", ".html": "html"}


def _names(incomplete: str) -> list[str]:
    """Names of the reports, for the shell's completion."""
    from metlog.reports import Library

    return [found.name for found in Library() if found.name.startswith(incomplete)]


def report(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Which; without one they are listed.", autocompletion=_names)
    ] = None,
    data: DataOption = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to write the rows.")] = Format.table,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Instead of standard output.")
    ] = None,
    chart: Annotated[
        str | None,
        typer.Option("--chart", metavar="FILE", help="Draw it: FILE.svg, FILE.png, FILE.html, or - for the terminal."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="From: 30d, 24h, yesterday, 2026-03-01.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to, not including: now, today, a time.")] = None,
    tz: Annotated[str | None, typer.Option(help="Time zone of days and hours, by name: Europe/Berlin.")] = None,
    reports: Annotated[
        Path | None,
        typer.Option(
            "--reports", metavar="DIR", help="A folder with more reports, each a TOML file; else METLOG_REPORTS."
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; --NAME VALUE does as well."),
    ] = None,
    spreadsheet: SpreadsheetOption = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Beside each value what it was in the time before, and the change in percent."),
    ] = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help=f'Exit with {_FAILED} if any row meets it, as "p95 > 500", or by the number of rows, as "rows = 0".',
        ),
    ] = None,
    engine: EngineOption = None,
) -> None:
    """Show a report, as a table or a chart; without a name, list them."""
    from metlog.reports import Library

    folder = data_folder(data)
    if reports is not None and not reports.is_dir():
        raise UsageError(f"--reports {str(reports)!r}: no such folder")
    library = Library(folder if folder.is_dir() else None, reports)
    for line in library.broken:
        typer.echo(f"metlog report: left out: {line}", err=True)
    if not name:
        asked = [*context.args, *(param or []), *(fail_if or []), since, until, tz, chart, output]
        if name is not None or any(asked) or compare or spreadsheet or format is not Format.table:
            raise UsageError("which report? `metlog report` alone lists them")
        _list(library)
        return
    chosen = library[name]
    given = _given(context.args, param or [], chosen.parameters)
    given.update({key: value for key, value in (("since", since), ("until", until), ("tz", tz)) if value is not None})
    conditions = [_condition(text) for text in fail_if or []]
    _check_chart(chart)
    with opened(engine, data) as source, asking(source) as cancel:
        if compare:
            from metlog.reports.compare import compared, comparing

            result = compared(chosen, source, given, limit=None, cancel=cancel)
            chosen = comparing(chosen)
        else:
            result = chosen.run(source, given, limit=None, cancel=cancel)
    met = [said for condition in conditions if (said := _met(condition, chosen, result)) is not None]
    if chart is not None:
        _draw(chosen, result, chart)
    if chart is None or output is not None or format is not Format.table:
        _write(chosen, result, format, output, spreadsheet=spreadsheet)
    if met:
        for said in met:
            typer.echo(f"metlog report: {name}: {said}", err=True)
        raise typer.Exit(_FAILED)


def _list(library: Library) -> None:
    rows = [
        (
            group if number == 0 else "",
            item.name,
            item.description,
            " ".join(f"--{key}" for key in item.parameters if key not in COMMON),
        )
        for group, reports in library.grouped()
        for number, item in enumerate(reports)
    ]
    columns = ("about", "name", "what it tells", "options of its own")
    print_table(
        [Column(name, "VARCHAR") for name in columns], rows,
        caption="Each takes --since, --until, --tz and --logger. Show one: metlog report NAME [--chart FILE.svg or -]",
    )  # fmt: skip


def _given(extra: list[str], pairs: list[str], parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """Parameters from `--param k=v` and from options of the report's own (`--by week`, `--by=week`, `--each`)."""
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--param {pair!r}: wants NAME=VALUE")
        given[key] = value
    words = deque(extra)
    while words:
        word = words.popleft()
        if not word.startswith("--"):
            raise UsageError(f"{word!r}: a parameter is given as --NAME VALUE")
        name, equals, value = word.partition("=")
        key = name[2:].replace("-", "_")
        if not equals and words and not words[0].startswith("--"):
            value = words.popleft()
        elif not equals and key in parameters:
            if parameters[key].type != "boolean":
                raise UsageError(f"{name}: wants a value; one that begins with -- is given as {name}=VALUE")
            value = "true"
        given[key] = value
    return given


def _write(
    chosen: Report, result: ReportResult, how: Format, output: Path | None, *, spreadsheet: bool = False
) -> None:
    from metlog.lake.export import write
    from metlog.lake.result import Stream

    if how is Format.table and output is None:
        if not result.rows:
            _nothing(chosen)
            return
        _table(chosen, result)
        return
    with open_output(output) as target:
        if how is Format.table:
            _table(chosen, result, target)
        else:
            stream = Stream(result.columns, iter(result.arrow.to_batches()), result.arrow.schema)
            write(stream, how.value, target, spreadsheet=spreadsheet)


def _table(chosen: Report, result: ReportResult, output: BinaryIO | None = None) -> None:
    """For people: with the time that was asked for, steps as short as they can be told, and other times to the second."""
    from metlog.reports.charts.labels import label, time_texts
    from metlog.reports.charts.vega import of_what

    text = time_texts(chosen, result.values)
    rows = [
        [
            text(column.name, value) if isinstance(value, datetime) else value
            for column, value in zip(result.columns, row, strict=True)
        ]
        for row in result.rows
    ]
    columns = [Column(label(chosen, column.name), column.type) for column in result.columns]
    print_table(columns, rows, title=f"{chosen.title}, {of_what(chosen, result.values)}", output=output, may_drop=True)


def _nothing(chosen: Report) -> None:
    typer.echo(legible(f"{chosen.title}: {chosen.empty.text}"))
    if chosen.empty.code:
        code = "".join(f"    {line}\n" for line in chosen.empty.code.splitlines())
        typer.echo(f"This would bring some:\n\n{code}")


def _check_chart(where: str | None) -> None:
    """Raises UsageError when there is no way to draw there."""
    if where is None or where == "-":
        return
    if Path(where).suffix.lower() not in _KINDS:
        raise UsageError(f"--chart {where!r}: wants a name that ends in .svg, .png or .html, or - for the terminal")
    if find_spec("vl_convert") is None:
        raise UsageError('--chart needs vl-convert-python: pip install "metlog[web]"')


def _draw(chosen: Report, result: ReportResult, where: str) -> None:
    if where == "-":
        _in_terminal(chosen, result)
        return
    from metlog.reports.charts.vega import specification

    path = Path(where)
    drawer = Drawer()
    try:
        content = drawer.draw(specification(chosen, result, width=860), _KINDS[path.suffix.lower()])
    finally:
        drawer.close()
    with open_output(path, "--chart") as target:
        target.write(content)


def _in_terminal(chosen: Report, result: ReportResult) -> None:
    from rich.console import Console

    from metlog.reports.charts.terminal import lines

    console = Console(highlight=False)
    for line in lines(chosen, result, min(console.width, 140)):
        console.print(line, soft_wrap=True)


def _condition(text: str) -> Condition:
    from metlog.reports.conditions import condition

    try:
        return condition(text)
    except ValueError as error:
        raise UsageError(f"--fail-if {text!r}: {error}") from None


def _met(condition: Condition, chosen: Report, result: ReportResult) -> str | None:
    """What to say when it holds: the condition and the first row that has it; None when no row does."""
    try:
        found = condition.first(result)
    except ConfigError as error:
        raise UsageError(f"--fail-if: {error}") from None
    if found is None:
        return None
    value, row = found
    if not row:
        return f"{condition.text}: there are {value:,.0f}"
    where = row[chosen.chart_spec.x if chosen.chart_spec and chosen.chart_spec.x in row else result.columns[0].name]
    return f"{condition.text}: {value:,.6g} at {where}"
