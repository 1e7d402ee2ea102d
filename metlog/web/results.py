"""Results in the forms that leave the page: JSON, CSV, Parquet, and cells of a table."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

import anyio.to_thread
import msgspec
import pyarrow.parquet as pq
from starlette.responses import Response, StreamingResponse

from metlog.lake.interface import Engine
from metlog.lake.query import Cancel, Column, QueryError, Result, Stream
from metlog.lake.values import formula_safe

__all__ = ["EXPORTS", "Exported", "answer", "cell", "export", "export_result", "json_response", "json_rows", "write"]

EXPORTS: Final = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
"""Forms of a download with their media types."""

_NUMBERS: Final = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "HUGEINT")
_CELL: Final = 4000
"""Characters of a cell that the page shows; a download has all of them."""


def _other(value: Any) -> Any:
    return str(value)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_other, decimal_format="number")


def json_bytes(value: Any) -> bytes:
    """JSON of what a query gives: times in RFC 3339, decimals as numbers, NaN and infinity as null."""
    return _ENCODER.encode(value)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json_bytes(value), status, media_type="application/json", headers=headers)


def json_rows(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows for JSON; columns of the type JSON become what they hold, not text."""
    holds = [column.type == "JSON" for column in columns]
    return [
        [
            msgspec.Raw(value.encode()) if raw and isinstance(value, str) else value
            for raw, value in zip(holds, row, strict=True)
        ]
        for row in rows
    ]


def answer(result: Result) -> dict[str, Any]:
    """A result as the API gives it."""
    return {
        "columns": [column._asdict() for column in result.columns],
        "rows": json_rows(result.columns, result.rows),
        "truncated": result.truncated,
        "ms": round(result.ms, 1),
    }


def is_number(column: Column) -> bool:
    """Whether a column's values stand to the right of their cell."""
    return column.type.endswith(_NUMBERS) or column.type.startswith("DECIMAL")


def cell(value: Any) -> str:
    """A value as the page shows it: times in UTC."""
    text = _text(value, " ")
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _text(value: Any, between: str = "T") -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case float():
            return repr(value) if between == "T" else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"
        case datetime():
            moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return moment.isoformat(between) + ("Z" if value.tzinfo else "")
        case int() | Decimal() | date() | timedelta():
            return str(value)
        case _:
            return json_bytes(value).decode()


def _cell(value: Any) -> str:
    """A value in a CSV file, which a spreadsheet is likely to open."""
    text = _text(value)
    return text if isinstance(value, (bool, int, float, Decimal, date, timedelta)) else formula_safe(text)


class Exported:
    """A whole result in a file without a name, which is gone when it is closed."""

    def __init__(self, file: IO[bytes], kind: str) -> None:
        self.file = file
        self.kind = kind
        self.size = file.seek(0, io.SEEK_END)

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            self.file.seek(0)
            while chunk := await anyio.to_thread.run_sync(self.file.read, 1 << 18):
                yield chunk
        finally:
            self.file.close()

    def response(self, name: str) -> Response:
        return StreamingResponse(
            self.chunks(),
            media_type=EXPORTS[self.kind],
            headers={
                "Content-Length": str(self.size),
                "Content-Disposition": f'attachment; filename="{name}.{self.kind}"',
            },
        )


def export(
    lake: Engine,
    sql: str,
    kind: str,
    most: int,
    *,
    loggers: Sequence[str] | None,
    cancel: Cancel,
    folder: Path | None = None,
) -> Exported:
    """Writes the whole result of a query to a file of at most about `most` bytes, so that what goes wrong is told
    before the download begins. Raises QueryError."""
    file = tempfile.TemporaryFile(prefix="metlog-export-", dir=folder)  # noqa: SIM115 - the answer closes it
    try:
        with lake.stream(sql, loggers=loggers, cancel=cancel) as stream:
            write(stream, kind, file, most)
        return Exported(file, kind)
    except BaseException:
        file.close()
        raise


def export_result(result: Result, kind: str) -> Exported:
    """The same for a result that is there already."""
    file = tempfile.TemporaryFile(prefix="metlog-export-")  # noqa: SIM115 - the answer closes it
    table = result.arrow
    write(Stream(result.columns, iter(table.to_batches()), table.schema), kind, file, 1 << 40)
    return Exported(file, kind)


def write(stream: Stream, kind: str, file: IO[bytes], most: int) -> None:
    """Writes a result as `csv`, `json` (an array of objects, one a line) or `parquet`. Raises QueryError above `most` bytes."""

    def check() -> None:
        if file.tell() > most:
            raise QueryError(
                f"the download would be larger than {most >> 20} MiB (export_bytes); ask for fewer rows or columns",
                "memory",
            )

    if kind == "parquet":
        with pq.ParquetWriter(file, stream.schema, compression="zstd") as writer:
            for batch in stream.batches:
                writer.write_batch(batch)
                check()
        return
    names = [column.name for column in stream.columns]
    if kind == "csv":
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        try:
            table = csv.writer(text)
            table.writerow([formula_safe(name) for name in names])
            for batch in stream.batches:
                columns = [[_cell(value) for value in column.to_pylist()] for column in batch.columns]
                table.writerows(zip(*columns, strict=True))
                check()
        finally:
            text.detach()
        return
    separator = b"[\n"
    for batch in stream.batches:
        columns = [column.to_pylist() for column in batch.columns]
        for row in json_rows(stream.columns, list(zip(*columns, strict=True))):
            file.write(separator + json_bytes(dict(zip(names, row, strict=True))))
            separator = b",\n"
        check()
    file.write(b"[]\n" if separator == b"[\n" else b"\n]\n")
