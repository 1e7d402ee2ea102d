"""`metlog report`: the built-in reports and one's own, as a table or a chart, or as a check for cron."""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from metlog.cli.common import DataOption, UsageError, data_folder, existing_data_folder, open_output
from metlog.cli.output import Format, print_table
from metlog.lake.query import Column, Lake

if TYPE_CHECKING:
    from metlog.reports import Library, Report, ReportResult

__all__ = ["report"]

_CONDITION: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_ ]*?)\s*(>=|<=|==|=|!=|>|<)\s*(-?\d+(?:\.\d+)?)\s*")
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_FAILED: Final = 3


def report(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Which; without one they are listed.")] = None,
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
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; --NAME VALUE does as well."),
    ] = None,
    fail_if: Annotated[
        str | None,
        typer.Option("--fail-if", metavar="CONDITION", help=f'Exit with {_FAILED} when a row has it: "p95 > 500".'),
    ] = None,
) -> None:
    """Show a report, as a table or a chart; without a name, list them."""
    from metlog.reports import Library

    folder = data_folder(data)
    library = Library(folder if folder.is_dir() else None)
    for line in library.broken:
        typer.echo(f"metlog report: left out: {line}", err=True)
    if name is None:
        _list(library)
        return
    chosen = library[name]
    given = _given(context.args, param or [])
    given.update({key: value for key, value in (("since", since), ("until", until), ("tz", tz)) if value is not None})
    condition = None if fail_if is None else _condition(fail_if)
    with Lake(existing_data_folder(data)) as lake:
        result = chosen.run(lake, given)
    if chart is not None:
        _draw(chosen, result, chart)
    if chart is None or output is not None or format is not Format.table:
        _write(chosen, result, format, output)
    if condition is not None and _holds(condition, result):
        typer.echo(f"metlog report: {name}: {fail_if} holds", err=True)
        raise typer.Exit(_FAILED)


def _list(library: Library) -> None:
    rows = [(item.name, item.title, item.description) for item in library]
    print_table([Column("name", "VARCHAR"), Column("title", "VARCHAR"), Column("what it tells", "VARCHAR")], rows)


def _given(extra: list[str], pairs: list[str]) -> dict[str, str]:
    """Parameters from `--param k=v` and from options of the report's own (`--by week`, `--by=week`)."""
    given: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--param {pair!r}: wants NAME=VALUE")
        given[key] = value
    words = iter(extra)
    for word in words:
        if not word.startswith("--"):
            raise UsageError(f"{word!r}: a parameter is given as --NAME VALUE")
        key, equals, value = word[2:].partition("=")
        given[key.replace("-", "_")] = value if equals else next(words, "")
    return given


def _write(chosen: Report, result: ReportResult, how: Format, output: Path | None) -> None:
    import csv
    import io

    import msgspec
    import pyarrow.parquet as pq

    from metlog.lake.values import as_json, as_text

    if how is Format.table and output is None:
        if not result.rows:
            _nothing(chosen)
            return
        print_table(result.columns, result.rows, title=chosen.title)
        return
    with open_output(output) as target:
        if how is Format.table:
            print_table(result.columns, result.rows, title=chosen.title, output=target)
        elif how is Format.parquet:
            pq.write_table(result.arrow, target, compression="zstd")
        elif how is Format.json:
            kinds = {column.name: column.type for column in result.columns}
            rows = [{key: as_json(value, kinds[key]) for key, value in row.items()} for row in result.dicts()]
            target.write(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
        else:
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([column.name for column in result.columns])
            for row in result.rows:
                writer.writerow(
                    [as_text(value, column.type) for value, column in zip(row, result.columns, strict=True)]
                )
            target.write(text.getvalue().encode())


def _nothing(chosen: Report) -> None:
    typer.echo(f"{chosen.title}: {chosen.empty.text}")
    if chosen.empty.code:
        typer.echo(f"This line would bring some:\n\n    {chosen.empty.code}\n")


def _draw(chosen: Report, result: ReportResult, where: str) -> None:
    if where == "-":
        _bars(chosen, result)
        return
    path = Path(where)
    suffix = path.suffix.lower()
    if suffix not in {".svg", ".png", ".html"}:
        raise UsageError(f"--chart {where!r}: wants a name that ends in .svg, .png or .html, or - for the terminal")
    try:
        import vl_convert
    except ModuleNotFoundError:
        raise UsageError('--chart needs vl-convert-python: pip install "metlog[web]"') from None
    specification = chosen.chart(result, width=860)
    made: dict[str, Callable[[], bytes]] = {
        ".svg": lambda: vl_convert.vegalite_to_svg(specification).encode(),
        ".png": lambda: vl_convert.vegalite_to_png(specification, scale=2),
        ".html": lambda: vl_convert.vegalite_to_html(specification, bundle=True).encode(),
    }
    with open_output(path) as target:
        target.write(made[suffix]())


def _bars(chosen: Report, result: ReportResult) -> None:
    """The first value column as bars of the terminal's width."""
    spec = chosen.chart_spec
    if spec is None or not result.rows:
        _nothing(chosen)
        return
    rows = result.dicts()[:60]
    numbers = [float(row[spec.y[0]] or 0) for row in rows]
    names = [" ".join(str(row[key]) for key in (spec.x, spec.color) if key) for row in rows]
    width = max(len(name) for name in names)
    room = max(10, 78 - width)
    most = max([*numbers, 1e-9])
    sys.stdout.write(
        f"{chosen.title} ({spec.labels.get(spec.y[0], spec.y[0])}{', ' + spec.unit if spec.unit else ''})\n"
    )
    for name, number in zip(names, numbers, strict=True):
        shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
        sys.stdout.write(f"{shown:<{width}}  {'█' * round(number / most * (room - 12))} {number:,.6g}\n")


def _condition(text: str) -> tuple[str, str, float]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(f'--fail-if {text!r}: wants COLUMN OPERATOR NUMBER, such as "p95 > 500"')
    return match[1], match[2], float(match[3])


def _holds(condition: tuple[str, str, float], result: ReportResult) -> bool:
    column, compare, limit = condition
    names = [item.name for item in result.columns]
    if column not in names:
        raise UsageError(f"--fail-if: the report has no column {column!r}; there is {', '.join(names)}")
    values: list[Any] = [row[names.index(column)] for row in result.rows]
    try:
        return any(_COMPARE[compare](float(value), limit) for value in values if value is not None)
    except (TypeError, ValueError):
        raise UsageError(f"--fail-if: the column {column!r} holds no numbers") from None
