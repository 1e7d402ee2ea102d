"""`metlog query`: SQL over the views `events` and `delivery`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from metlog.cli.common import DataOption, UsageError, key_values, open_output
from metlog.cli.engine import EngineOption, MemoryOption, TimeoutOption, asking, opened
from metlog.cli.output import Format, SpreadsheetOption, print_table
from metlog.lake.export import write
from metlog.lake.result import collected

_TABLE_ROWS = 1000
_SUFFIXES = {
    "json": Format.json, "ndjson": Format.ndjson, "csv": Format.csv, "md": Format.markdown, "parquet": Format.parquet, "txt": Format.table,
}  # fmt: skip
"""Formats that a file's name asks for."""


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; `-` reads it from standard input.")],
    data: DataOption = None,
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: table, or what --output says.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Instead of standard output.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help=f"At most so many rows; a table shows {_TABLE_ROWS} unless told.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=VALUE", help="Value of $NAME in the query.")
    ] = None,
    timeout: TimeoutOption = None,
    spreadsheet: SpreadsheetOption = False,
    memory: MemoryOption = "2GB",
    engine: EngineOption = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Send the statement to --engine as it is, in the engine's own words.")
    ] = False,
) -> None:
    """SQL over the view `events`, fresh events included, and `delivery`.

    Example: metlog query "SELECT type, sum(weight) FROM events WHERE timestamp > now() - INTERVAL 1 DAY GROUP BY type"
    """
    if sql == "-":
        sql = sys.stdin.read()
    how = format or _format_of(output)
    if how is Format.parquet and output is None and sys.stdout.isatty():
        raise UsageError("--format parquet is not for a terminal: name a file with --output")
    params = key_values(param or [], "--param") or None
    if raw and engine is None:
        raise UsageError("--raw goes with --engine: DuckDB's own words are the ones that are translated")
    if raw and params:
        raise UsageError("--raw takes no --param: the statement is sent as it is")
    with opened(engine, data, timeout=timeout, memory=memory) as source, asking(source) as cancel:
        began = time.perf_counter()
        if how is Format.table and not raw:
            result = source.query(sql, params, limit=_TABLE_ROWS if limit is None else limit, cancel=cancel)
        else:
            with source.raw(sql, cancel=cancel) if raw else source.stream(sql, params, cancel=cancel) as stream:
                if how is not Format.table:
                    with open_output(output) as target:
                        write(stream, how.value, target, limit=limit, spreadsheet=spreadsheet)
                    return
                result = collected(stream, _TABLE_ROWS if limit is None else limit, began=began)
    caption = f"{len(result.rows):,} row{'s' * (len(result.rows) != 1)}, {result.ms:.0f} ms"
    if result.truncated:
        caption = f"the first {caption}; there are more: --limit, or --output FILE.csv for all"
    if output is None:
        print_table(result.columns, result.rows, caption=caption)
        return
    with open_output(output) as target:
        print_table(result.columns, result.rows, caption=caption, output=target)


def _format_of(output: Path | None) -> Format:
    """What a file's name asks for."""
    suffix = output.suffix.lower().removeprefix(".") if output is not None else ""
    if output is not None and suffix not in _SUFFIXES and _is_file(output):
        wanted = ", ".join(f".{known}" for known in _SUFFIXES)
        raise UsageError(f"--output {str(output)!r}: the name does not say a format ({wanted}); give one with --format")
    return _SUFFIXES.get(suffix, Format.table)


def _is_file(path: Path) -> bool:
    """Whether the path is, or will be, a regular file: a device or a FIFO says nothing by its name."""
    return str(path) != "-" and (path.is_file() or not path.exists())
