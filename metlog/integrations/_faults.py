"""What an exception that came through says: the application's fault, or a client that went away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """`wsgi.input`, watched: `gone` when the client broke off, `lost` what the server raised then.

    `length` is what the client has promised, 0 where that is not known: the end of the stream says nothing then.
    """

    def __init__(self, stream: Any, length: int) -> None:
        self._stream = stream
        self._left = length
        self.gone = False
        self.lost: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)  # what the stream has not, this has not: werkzeug asks for `readinto`
        if name == "read1":
            return lambda *size: self._seen(found, size, lambda data: not data and size[:1] != (0,))
        if name == "readinto":
            return lambda buffer: self._filled(found, buffer, least=len(buffer))
        if name == "readinto1":
            return lambda buffer: self._filled(found, buffer, least=min(1, len(buffer)))
        return found

    def read(self, *size: Any) -> bytes:
        """As the stream's."""
        return self._seen(self._stream.read, size, lambda data: _is_short(data, size))

    def readline(self, *size: Any) -> bytes:
        """As the stream's."""
        return self._seen(self._stream.readline, size, lambda data: data[-1:] != b"\n" and _is_short(data, size))

    def readlines(self, *hint: Any) -> list[bytes]:
        """As the stream's."""
        try:
            lines: list[bytes] = self._stream.readlines(*hint)
        except Exception as error:
            self._failed(error)
            raise
        self._took(sum(map(len, lines)), ended=not lines or not any(hint))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _seen(self, method: Any, size: tuple[Any, ...], ended: Callable[[bytes], bool]) -> bytes:
        try:
            data: bytes = method(*size)
        except Exception as error:
            self._failed(error)
            raise
        self._took(len(data), ended=ended(data))
        return data

    def _filled(self, method: Any, buffer: Any, *, least: int) -> int | None:
        try:
            count: int | None = method(buffer)
        except Exception as error:
            self._failed(error)
            raise
        if count is not None:  # None: nothing yet
            self._took(count, ended=count < least)
        return count

    def _took(self, count: int, *, ended: bool) -> None:
        self._left -= count
        if count or ended:  # what comes after an end shows that it was none
            self.gone = self.lost is not None or (ended and self._left > 0)

    def _failed(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self.gone, self.lost = True, error


def _is_short(data: bytes, size: tuple[Any, ...]) -> bool:
    """Whether a read gave less than it was asked for, which it does at the end of the stream only."""
    wanted = size[0] if size else None
    return wanted is None or wanted < 0 or len(data) < wanted
