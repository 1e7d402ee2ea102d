"""Results as table, JSON, CSV or Parquet."""

from __future__ import annotations

import csv
import json
import math
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from metlog.lake.query import Result

__all__ = ["Format", "plain", "write"]


class Format(StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def plain(value: Any) -> Any:
    """A value as JSON can say it; times as RFC 3339 in UTC."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, timedelta, Decimal)):
        return float(value) if isinstance(value, Decimal) else str(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def write(result: Result, form: Format, output: Path | None = None) -> None:
    """Writes a result to a file or standard output; raises OSError, and ValueError for Parquet to a terminal."""
    if form is Format.parquet:
        if output is None and sys.stdout.isatty():
            raise ValueError("Parquet is not for a terminal; give --output FILE, or redirect")
        _parquet(result, output)
        return
    if form is Format.table and output is None:
        _table(result)
        return
    stream = sys.stdout if output is None else output.open("w", encoding="utf-8", newline="")
    try:
        if form is Format.json:
            for record in result.dicts():
                stream.write(json.dumps(plain(record), ensure_ascii=False) + "\n")
        else:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([column.name for column in result.columns])
            for row in result.rows:
                writer.writerow([_cell(value) for value in row])
    finally:
        if output is not None:
            stream.close()


def _cell(value: Any) -> Any:
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _parquet(result: Result, output: Path | None) -> None:
    import pyarrow.parquet as pq

    if output is not None:
        pq.write_table(result.arrow, output, compression="zstd")
        return
    raw: BinaryIO = sys.stdout.buffer
    pq.write_table(result.arrow, raw, compression="zstd")


def _table(result: Result) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numbers = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "HUGEINT", "UBIGINT")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in result.columns:
        right = any(name in column.type for name in numbers) and "[" not in column.type
        table.add_column(Text(column.name), justify="right" if right else "left", overflow="fold")
    for row in result.rows:
        table.add_row(*(Text("" if value is None else _shown(value)) for value in row))
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)


def _shown(value: Any) -> str:
    """Text for a terminal: control characters, which could steer it, are shown as such."""
    text = str(_cell(value))
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
