"""Results in the forms that leave the page: JSON, CSV, Parquet, and cells of a table."""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import anyio.to_thread
from starlette.responses import Response, StreamingResponse

from metlog.lake.export import FORMATS, encode, json_rows, write
from metlog.lake.interface import Engine, Params
from metlog.lake.query import Cancel, Result, Stream
from metlog.lake.shown import cut
from metlog.lake.values import as_text
from metlog.web.times import in_zone

__all__ = ["Exported", "answer", "cell", "export", "export_result", "json_response"]


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), status, media_type="application/json", headers=headers)


def answer(result: Result) -> dict[str, Any]:
    """A result as the API gives it."""
    return {
        "columns": [column._asdict() for column in result.columns],
        "rows": json_rows(result.columns, result.rows),
        "truncated": result.truncated,
        "ms": round(result.ms, 1),
    }


def cell(value: Any, sql_type: str = "", zone: ZoneInfo | None = None) -> str:
    """A value of this type as the page shows it: times in UTC, or in the zone."""
    if isinstance(value, datetime):
        value = in_zone(value, zone)
    return cut(_text(value, sql_type))


def _text(value: Any, sql_type: str) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}" if abs(value) < 1e15 else repr(value)
    return as_text(value, sql_type)


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
            media_type=FORMATS[self.kind],
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
    params: Params = None,
    loggers: Sequence[str] | None,
    cancel: Cancel,
    folder: Path | None = None,
) -> Exported:
    """Writes the whole result of a query to a file of at most about `most` bytes, so that what goes wrong is told
    before the download begins. Raises QueryError."""
    file = tempfile.TemporaryFile(prefix="metlog-export-", dir=folder)  # noqa: SIM115 - the answer closes it
    try:
        with lake.stream(sql, params, loggers=loggers, cancel=cancel) as stream:
            write(stream, kind, file, max_bytes=most, spreadsheet=True)
        return Exported(file, kind)
    except BaseException:
        file.close()
        raise


def export_result(result: Result, kind: str) -> Exported:
    """The same for a result that is there already."""
    file = tempfile.TemporaryFile(prefix="metlog-export-")  # noqa: SIM115 - the answer closes it
    table = result.arrow
    write(Stream(result.columns, iter(table.to_batches()), table.schema), kind, file, spreadsheet=True)
    return Exported(file, kind)
