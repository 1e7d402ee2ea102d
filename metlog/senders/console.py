"""A terminal, for development: one event a line, aligned, in colour."""

from __future__ import annotations

import sys
from typing import Any, Final, Literal

from metlog.core.terminal import flush_of, is_terminal, wants_no_colour
from metlog.encoders.text import COLOURS, escape, value_text
from metlog.encoders.wire import decode
from metlog.errors import DecodeError, SenderError
from metlog.event import END_TYPE, Event, Severity
from metlog.senders import BaseSender
from metlog.senders.options import closed, one_of

__all__ = ["ConsoleSender"]

_LEVELS: Final = tuple(
    {"INFORMATIONAL": "info", "EMERGENCY": "emergency"}.get(level.name, level.name.lower()) for level in Severity
)
_LEVEL_WIDTH: Final = max(map(len, _LEVELS))


class ConsoleSender(BaseSender):
    """Writes events for the developer who looks at the terminal: local time, severity, message, type and service, fields.

    >>> sender = ConsoleSender(stream="stdout", color="never", width=20)
    >>> frame = b'{"timestamp":"2026-05-01T12:00:00Z","type":"login","logger":"shop","payload":"logged in","fields":{"user":"u1"}}'
    >>> sender.send(frame)  # doctest: +SKIP
    14:00:00.000 [info     ] logged in            login shop  user=u1

    stream
        `stderr` or `stdout`.
    color
        `auto` (on a terminal, and neither NO_COLOR is set nor TERM is `dumb`), `always` or `never`.
    width
        Characters that a message takes at least, so that the fields of short ones stand below each other.

    A traceback follows on lines of its own. No value can forge a line or drive the terminal: control characters are written as escapes.
    `send` raises `metlog.errors.SenderError` with the reason `undecodable` (a frame that is neither JSON nor MessagePack), `refused`
    (nobody reads the stream any more), `unreachable` (it cannot be written) or `closed`.
    """

    max_frame = 65536

    def __init__(
        self,
        *,
        stream: Literal["stderr", "stdout"] = "stderr",
        color: Literal["auto", "always", "never"] = "auto",
        width: int = 30,
    ) -> None:
        one_of("stream", stream, ("stderr", "stdout"))
        one_of("color", color, ("auto", "always", "never"))
        if not 0 <= width <= 200:
            raise ValueError(f"width = {width}: wants 0 to 200 characters")
        self._name, self._width = stream, width
        self._color = color == "always" or (color == "auto" and self.isatty() and not wants_no_colour())
        self._closed = False

    def isatty(self) -> bool:
        """Whether the stream is a terminal at this moment."""
        return is_terminal(self._stream())

    def _stream(self) -> Any:
        """The stream as it is now: tests and frameworks put others in its place."""
        return getattr(sys, self._name)

    def send(self, frame: bytes) -> None:
        """Writes each event of the frame, but for `metlog.end`."""
        if self._closed:
            raise closed(self)
        try:
            events = decode(frame)
        except DecodeError as error:
            raise SenderError(f"the console sender needs frames that it can read: {error}", "undecodable") from error
        stream = self._stream()
        if stream is None:  # pythonw, a daemon
            raise SenderError(f"there is no {self._name}", "closed")
        text = "".join(self._line(event) + "\n" for event in events if event.type != END_TYPE)
        try:
            stream.write(text)
            flush_of(stream)()
        except BrokenPipeError as error:
            raise SenderError(f"nobody reads {self._name} any more", "refused") from error
        except (OSError, ValueError) as error:  # ValueError: the application closed the stream
            raise SenderError(f"{self._name}: {error}", "unreachable") from error

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Refuses frames from now on; the stream is the process's own."""
        self._closed = True

    def _line(self, event: Event) -> str:
        moment = event.timestamp.astimezone()
        time = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
        level = _LEVELS[event.severity].ljust(_LEVEL_WIDTH)
        message = escape(event.payload).ljust(self._width)
        about = " ".join(escape(text) for text in (*dict.fromkeys((event.type, *event.tokens)), event.logger) if text)
        trace = event.fields.get("traceback")
        fields = [
            f"{self._paint('36', escape(name))}={self._paint('35', value_text(value))}"
            for name, value in event.fields.items()
            if name != "traceback" or not isinstance(trace, str)
        ]
        if event.weight != 1.0:
            fields.append(f"{self._paint('36', 'weight')}={event.weight:g}")
        line = (
            f"{self._paint('2', time)} [{self._paint(COLOURS[event.severity], level)}] {self._paint('1', message)} "
            f"{self._paint('34', about)}  {' '.join(fields)}"
        ).rstrip()
        if isinstance(trace, str):
            line += "".join(f"\n    {escape(each)}" for each in trace.rstrip("\n").split("\n"))
        return line

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._color and text else text
