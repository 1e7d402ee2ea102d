"""The one way out of the lake: a result of any size as CSV, JSON or Parquet, the same from the commands and from the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import IO, Any, Final

import pyarrow as pa

from metlog.lake.cells import python_values
from metlog.lake.export_text import markdown_rows, vertical_rows
from metlog.lake.result import Stream
from metlog.lake.sql.guard import QueryError
from metlog.lake.values import Column, as_cell, as_json, as_text, encode, formula_safe, spelt

__all__ = ["FORMATS", "csv_rows", "encode", "json_rows", "write"]

FORMATS: Final = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "markdown": "text/markdown; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
"""Formats with their media types; `write` knows `vertical`, for a terminal, too."""

_NATIVE: Final = (
    "VARCHAR", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "DOUBLE", "FLOAT",
    "DATE", "TIMESTAMP", "DECIMAL", "UUID", "HUGEINT", "UHUGEINT", "BIGNUM",
)  # fmt: skip
"""Beginnings of the names of types whose Python values `encode` takes as they are."""

_TEXTS: Final = {"markdown": markdown_rows, "vertical": vertical_rows}


def write(
    stream: Stream,
    kind: str,
    file: IO[bytes],
    *,
    limit: int | None = None,
    max_bytes: int | None = None,
    spreadsheet: bool = False,
) -> int:
    """Writes a result in one of `FORMATS`, at most `limit` rows; returns their number. JSON is an array of objects, one a
    line, and NDJSON the lines without the array.

    `spreadsheet`: CSV in which no text is a formula. Raises QueryError when the file grows beyond `max_bytes`.
    """
    batches = _checked(stream, file, limit, max_bytes)
    if kind == "parquet":
        import pyarrow.parquet as pq

        count = 0
        written = _written(stream)
        with pq.ParquetWriter(file, written, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch if written is stream.schema else _parquet(batch, stream.columns, written))
                count += batch.num_rows
        return count
    types = [column.type for column in stream.columns]
    rows = (row for batch in batches for row in zip(*map(python_values, batch.columns, types), strict=True))
    if kind == "csv":
        return csv_rows(stream.columns, rows, file, spreadsheet=spreadsheet)
    if kind in _TEXTS:
        return _TEXTS[kind](stream.columns, rows, file)
    names = [column.name for column in stream.columns]
    converted = _converters(stream.columns)
    count = 0
    lines = (
        encode({name: convert(value) for name, convert, value in zip(names, converted, row, strict=True)})
        for row in rows
    )
    if kind == "ndjson":
        for line in lines:
            file.write(line + b"\n")
            count += 1
        return count
    file.write(b"[")
    for line in lines:
        file.write((b",\n " if count else b"\n ") + line)
        count += 1
    file.write(b"\n]\n" if count else b"]\n")
    return count


def _checked(stream: Stream, file: IO[bytes], limit: int | None, max_bytes: int | None) -> Iterator[Any]:
    """The batches up to the limit of rows."""
    left = limit
    for batch in stream.batches:
        if left is not None and batch.num_rows >= left:
            yield batch.slice(0, left)
            return
        yield batch
        if left is not None:
            left -= batch.num_rows
        if max_bytes is not None and file.tell() > max_bytes:
            raise QueryError(
                f"the download would be larger than {max_bytes >> 20} MiB (export_bytes); ask for fewer rows or columns",
                "memory",
            )


def _written(stream: Stream) -> pa.Schema:
    """The schema of a Parquet file: pyarrow writes no intervals, and no map whose keys have no type, so a column with one is text."""
    texts = [_unwritten(field.type) for field in stream.schema]
    if not any(texts):
        return stream.schema
    return pa.schema(
        [field.with_type(pa.string()) if text else field for field, text in zip(stream.schema, texts, strict=True)]
    )


def _unwritten(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind) and pa.types.is_null(kind.key_type):
        return True
    if pa.types.is_nested(kind):
        return any(_unwritten(kind.field(at).type) for at in range(kind.num_fields))
    return bool(pa.types.is_interval(kind))


def _parquet(batch: pa.RecordBatch, columns: Sequence[Column], schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for array, column, field in zip(batch.columns, columns, schema, strict=True):
        if array.type == field.type:
            arrays.append(array)
            continue
        values = python_values(array, column.type)
        texts = [None if value is None else as_text(value, column.type) for value in values]
        arrays.append(pa.array(texts, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def csv_rows(
    columns: Sequence[Column], rows: Iterable[Sequence[Any]], file: IO[bytes], *, spreadsheet: bool = False
) -> int:
    """Writes CSV with a line of names; returns the number of rows. Times are RFC 3339."""
    cell = as_cell if spreadsheet else partial(as_text, between="T")
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([formula_safe(column.name) if spreadsheet else column.name for column in columns])
        types = [column.type for column in columns]
        count = 0
        for row in rows:
            writer.writerow([cell(value, kind) for value, kind in zip(row, types, strict=True)])
            count += 1
        return count
    finally:
        text.detach()  # the caller closes the file


def json_rows(columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Returns rows for `encode`; values of the type JSON are what they hold, not text."""
    converted = _converters(columns)
    return [[convert(value) for convert, value in zip(converted, row, strict=True)] for row in rows]


def _converters(columns: Sequence[Column]) -> list[Callable[[Any], Any]]:
    return [_converter(column.type) for column in columns]


def _converter(sql_type: str) -> Callable[[Any], Any]:
    if sql_type == "JSON":
        return _raw
    if sql_type.startswith(_NATIVE) and not sql_type.endswith("]"):
        return _same
    return partial(as_json, sql_type=sql_type)


def _same(value: Any) -> Any:
    return value


def _raw(value: Any) -> Any:
    return spelt(value) if isinstance(value, str) else value
