"""What the page and its engine say to each other: frames over a socket, a query each, small enough for both sides."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
from msgspec import Struct

from metlog.lake.sql.guard import QueryError

__all__ = [
    "BATCH",
    "DONE",
    "ERROR",
    "HEAD",
    "PROGRESS",
    "EXIT_RECYCLE",
    "QueryRequest",
    "Head",
    "Setup",
    "ErrorMessage",
    "encode_request",
    "batch_of",
    "parts",
    "receive",
    "send",
]

HEAD: Final = b"h"
BATCH: Final = b"b"
DONE: Final = b"d"
ERROR: Final = b"e"
PROGRESS: Final = b"p"
"""Before the head: the share that is done, as text of a number from 0 to 1."""

EXIT_RECYCLE: Final = 75
"""Exit status of an engine that makes room for a fresh one; what it has not answered may be asked again."""

_FRAME: Final = struct.Struct("<cI")
MOST: Final = 64 << 20
"""Bytes of a frame; a row that is larger cannot be answered."""
_PART: Final = 4 << 20
"""Bytes that a batch is cut down to, roughly."""


class Setup(Struct, frozen=True):
    """The first word to an engine: the options of its `Lake`, and bytes that it may take beyond `memory`."""

    data: str
    memory: str
    spill: str
    timeout: float | None
    threads: int | None
    headroom: int
    spill_folder: str = ""
    credentials: dict[str, str] = {}
    """Of shared storage; they never stand in the engine's environment, and SQL does not see them."""


class QueryRequest(Struct, frozen=True):
    """A query. `params` are pairs of a kind (`v` as it is, `t` a time, `d` a day) and a value."""

    sql: str
    params: dict[str, tuple[str, Any]] | list[tuple[str, Any]] | None
    timeout: float | None
    loggers: list[str] | None

    def values(self) -> dict[str, Any] | list[Any] | None:
        """The parameters as they were given."""
        if isinstance(self.params, dict):
            return {name: _given(kind, value) for name, (kind, value) in self.params.items()}
        return [_given(kind, value) for kind, value in self.params] if self.params is not None else None


class Head(Struct, frozen=True):
    """Names and types of the columns; the Arrow schema comes with every batch."""

    columns: list[tuple[str, str]]
    schema: bytes


class ErrorMessage(Struct, frozen=True):
    """A QueryError on its way."""

    message: str
    kind: str
    line: int | None = None
    column: int | None = None


def encode_request(sql: str, params: Any, timeout: float | None, loggers: Sequence[str] | None) -> bytes:
    """A query, encoded."""
    packed: Any = None
    if isinstance(params, Mapping):
        packed = {name: _packed(value) for name, value in params.items()}
    elif params is not None:
        packed = [_packed(value) for value in params]
    try:
        return msgspec.msgpack.encode(QueryRequest(sql, packed, timeout, None if loggers is None else list(loggers)))
    except (TypeError, OverflowError, UnicodeEncodeError) as error:
        raise QueryError(f"a value of the query cannot be used: {error}", "syntax") from None


def _packed(value: Any) -> tuple[str, Any]:
    if isinstance(value, datetime):
        return "t", value.isoformat()
    if isinstance(value, date):
        return "d", value.isoformat()
    return "v", value


def _given(kind: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if kind == "t" else date.fromisoformat(value) if kind == "d" else value


def send(sock: socket.socket, kind: bytes, content: bytes | memoryview) -> None:
    """Writes a frame; waits as long as the other side is busy with those before."""
    sock.sendall(_FRAME.pack(kind, len(content)))
    sock.sendall(content)


def exactly(sock: socket.socket, wait: Callable[[], None] = lambda: None) -> Callable[[int], bytes]:
    """A function that reads so many bytes of a socket, after `wait` each time; it raises EOFError when there are fewer."""

    def read(size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            wait()
            part = sock.recv(min(size - len(found), 1 << 20))
            if not part:
                raise EOFError
            found += part
        return bytes(found)

    return read


def receive(read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """The next frame. `read(n)` gives n bytes or raises EOFError. Raises ValueError for a frame that is none."""
    kind, length = _FRAME.unpack(read(_FRAME.size))
    if length > MOST or kind not in {HEAD, BATCH, DONE, ERROR, PROGRESS}:
        raise ValueError(f"a frame of kind {kind!r} with {length} bytes")
    return kind, read(length) if length else b""


def parts(batch: pa.RecordBatch) -> Iterator[bytes]:
    """A batch as Arrow streams of some megabytes each. Raises QueryError when a single row is too large."""
    rows = max(1, int(batch.num_rows * _PART / max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        some = batch.slice(start, rows)
        if some.num_rows > 1 and some.nbytes > MOST // 2:  # rows of very different sizes
            for index in range(some.num_rows):
                yield from parts(some.slice(index, 1))
            continue
        if some.nbytes > MOST // 2:
            raise QueryError(f"a row of the result is larger than {MOST >> 21} MiB; ask for parts of it", "memory")
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(some)
        yield sink.getvalue().to_pybytes()


def batch_of(content: bytes) -> list[pa.RecordBatch]:
    """The batches in a frame."""
    with pa.ipc.open_stream(content) as reader:
        return list(reader)
