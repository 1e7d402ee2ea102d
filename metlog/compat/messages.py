"""Events as the dicts that the original's senders, filters and formatters know, and these as parts of this client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from metlog.encoders import BaseEncoder
from metlog.encoders.json import JsonEncoder
from metlog.errors import DecodeError
from metlog.event import OWN_TYPES, Event
from metlog.filters import BaseFilter
from metlog.senders import BaseSender
from metlog.values import sanitize

__all__ = ["Formatter", "FormatterEncoder", "MessageFilter", "MessageSender", "to_message"]

Formatter = Callable[[dict[str, Any]], str]


def to_message(event: Event) -> dict[str, Any]:
    """An event as the original's message: its nine keys, and no other."""
    return {
        "type": event.type,
        "timestamp": msgspec.to_builtins(event.timestamp),
        "logger": event.logger,
        "severity": event.severity,
        "payload": event.payload,
        "fields": event.fields,
        "env_version": event.env_version,
        "metlog_pid": event.pid,
        "metlog_hostname": event.hostname,
    }


def _copied(value: Any) -> Any:
    """Containers copied at every level, what is in them as it is."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


class MessageSender(BaseSender):
    """A sender written for the original: `send_message(msg: dict)`. It runs behind the queue, so that it may block.

    One that says `nonblocking = True` of itself is called at once, in the thread that logs. It gets no event that the
    original did not have (`metlog.end`, `metlog.report`).
    """

    max_frame = 65536

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.nonblocking = getattr(inner, "nonblocking", False) is True
        self._decode = JsonEncoder().decode

    def send(self, frame: bytes) -> None:
        """Passes on one message for each event; one that raises does not keep the others of its frame back."""
        error: Exception | None = None
        for event in self._decode(frame):
            if event.type not in OWN_TYPES:
                try:
                    self.inner.send_message(to_message(event))
                except Exception as failed:  # noqa: BLE001 - a sender may raise anything
                    error = error or failed
        if error is not None:
            raise error

    def flush(self) -> None:
        """Flushes what can be flushed; the original had no flush."""
        flush = getattr(self.inner, "flush", None)
        if callable(flush):
            flush()

    def close(self) -> None:
        """Closes what can be closed."""
        close = getattr(self.inner, "close", None)
        if callable(close):
            close()


class MessageFilter(BaseFilter):
    """A filter written for the original: a dict in, whether to keep it out; it may change the dict."""

    def __init__(self, inner: Callable[[dict[str, Any]], Any]) -> None:
        self.inner = inner

    def __call__(self, event: Event, /) -> Event | None:
        """Calls it with a copy, and takes over what it changed."""
        message = to_message(event)
        message["fields"] = _copied(event.fields)
        if not self.inner(message):
            return None
        return replace(event, **{key: message[key] for key in ("type", "logger", "severity", "payload", "fields")})


class FormatterEncoder(BaseEncoder):
    """Writes what a formatter of the original's makes of the message, a line each. It cannot be read back."""

    content_type = "text/plain; charset=utf-8"

    def __init__(self, formatter: Formatter) -> None:
        self._formatter = formatter

    def encode(self, event: Event) -> bytes:
        """What the formatter makes; raises what it raises."""
        return str(self._formatter(to_message(sanitize(event)[0]))).encode("utf-8", "backslashreplace")

    def frame(self, encoded: list[bytes]) -> bytes:
        """The lines, the last one ended too."""
        return b"\n".join([*encoded, b""])

    def decode(self, frame: bytes) -> list[Event]:
        """Raises DecodeError."""
        raise DecodeError("what a formatter has made cannot be read back; use the encoder json for a listener")
