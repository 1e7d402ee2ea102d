"""What an exception that came through says: the application's fault, or a client that went away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from metlog.tracebacks import exception_fields

__all__ = ["Input", "error_fields", "is_disconnect", "stems_from"]

_DISCONNECTS: Final = frozenset({
    "ClientDisconnect", "WebSocketDisconnect", "WebsocketDisconnect",  # Starlette, Litestar
    "ClientDisconnected", "ClientDisconnectedError", "ClientDisconnectException",  # werkzeug, uvicorn, Quart
    "RequestAborted", "UnreadablePostError",  # Django
    "ConnectionClosed", "ConnectionClosedOK", "ConnectionClosedError",  # websockets
    "StopConsumer",  # channels
})  # fmt: skip
"""Names under which frameworks tell a handler that its client has gone. Only believed where the server has said so, too."""
_MAX_CHAIN: Final = 16


def stems_from(error: BaseException, origin: BaseException) -> bool:
    """Whether an exception is another, or was raised because of it."""
    return any(link is origin for link in _chain(error))


def is_disconnect(error: BaseException) -> bool:
    """Whether a framework says with this exception that the client has gone."""
    return any(base.__name__ in _DISCONNECTS for link in _chain(error) for base in type(link).__mro__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(_MAX_CHAIN):  # a chain may be a ring
        if found is None:
            return
        yield found
        if isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:  # a task group's wrapping
            found = found.exceptions[0]
        else:
            found = found.__cause__ or found.__context__


def error_fields(error: BaseException) -> dict[str, Any]:
    """The fields of `client.exception()`, and the place where it was raised: `pathname`, `lineno`, `func`."""
    fields: dict[str, Any] = exception_fields(error)
    trace = error.__traceback__
    if trace is not None:
        while trace.tb_next is not None:
            trace = trace.tb_next
        code = trace.tb_frame.f_code
        fields["pathname"], fields["lineno"], fields["func"] = code.co_filename, trace.tb_lineno, code.co_name
    return fields


class Input:
    """`wsgi.input`, watched: `gone` when the client broke off, `lost` what the server raised then."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self._left = length
        self.gone = False
        self.lost: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)  # what the stream has not, this has not: werkzeug asks for `readinto`
        if name == "read1":
            return lambda *size: self._seen(found, size)
        if name in {"readinto", "readinto1"}:
            return lambda buffer: self._filled(found, buffer)
        return found

    def read(self, *size: Any) -> bytes:
        """As the stream's."""
        return self._seen(self._stream.read, size)

    def readline(self, *size: Any) -> bytes:
        """As the stream's."""
        return self._seen(self._stream.readline, size)

    def readlines(self, *hint: Any) -> list[bytes]:
        """As the stream's."""
        try:
            lines: list[bytes] = self._stream.readlines(*hint)
        except Exception as error:
            self._failed(error)
            raise
        self._left -= sum(map(len, lines))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _seen(self, method: Any, size: tuple[Any, ...]) -> bytes:
        try:
            data: bytes = method(*size)
        except Exception as error:
            self._failed(error)
            raise
        self._took(len(data), wanted=size[:1] != (0,))
        return data

    def _filled(self, method: Any, buffer: Any) -> int | None:
        try:
            count: int | None = method(buffer)
        except Exception as error:
            self._failed(error)
            raise
        if count is not None:  # None: nothing yet
            self._took(count, wanted=len(buffer) > 0)
        return count

    def _took(self, count: int, *, wanted: bool) -> None:
        self._left -= count
        if not count and wanted and self._left > 0:
            self.gone = True

    def _failed(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self.gone, self.lost = True, error
