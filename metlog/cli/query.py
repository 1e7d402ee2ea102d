"""`metlog query`: SQL over the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metlog.cli._data import Data, data_folder, fail
from metlog.cli._table import Format, write

__all__ = ["query"]


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the views `events` and `delivery`.")],
    data: Data = None,
    form: Annotated[Format, typer.Option("--format", help="How to write the result.")] = Format.table,
    output: Annotated[Path | None, typer.Option("--output", help="Write to this file.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.1, help="End the query after so many seconds.")] = None,
) -> None:
    """Ask with SQL; events are there two seconds after they were logged, each exactly once."""
    from metlog.lake.query import Lake, QueryError

    try:
        with Lake(data_folder(data)) as lake:
            result = lake.query(sql, limit=limit, timeout=timeout, max_bytes=4 << 30)
            write(result, form, output)
    except (QueryError, OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        fail("query", error)
    if result.truncated:
        typer.echo(f"(the first {limit} rows)", err=True)
