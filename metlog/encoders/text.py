"""Text for people: one event a line, in colour on a terminal."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any, Final, Literal

import msgspec

from metlog.core.interfaces import BaseSender
from metlog.core.terminal import wants_no_colour
from metlog.encoders import BaseEncoder
from metlog.encoders.json import JsonEncoder
from metlog.errors import DecodeError
from metlog.event import Event, Severity

__all__ = ["COLOURS", "TextEncoder", "escape", "value_text"]

_NAMES: Final = tuple(severity.name for severity in Severity)
COLOURS: Final = ("1;31", "1;31", "1;31", "31", "33", "36", "32", "2")  # emergency … debug
# Control characters move the cursor, rename the window or forge a line; the bidirectional ones reorder what is read.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_QUOTED: Final = re.compile(r'[\s="]')
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class TextEncoder(BaseEncoder):
    r"""A line an event, for people: `2026-05-09T07:35:25.123Z INFORMATIONAL login sync: user logged in user=u1 ms=12.5`

    Time in UTC with milliseconds, severity, type, logger, payload, fields. A traceback follows on lines of its own,
    indented; every other control character is written as an escape, so that no value can forge a line or drive the
    terminal.

    `color` is `auto` (when the sender writes to a terminal, and neither NO_COLOR is set nor TERM is `dumb`), `always` or
    `never`.
    """

    content_type = "text/plain; charset=utf-8"
    silent = True

    def __init__(self, *, color: Literal["auto", "always", "never"] = "auto") -> None:
        if color not in ("auto", "always", "never"):
            raise ValueError(f"color = {color!r}: auto, always or never")
        self._color = color == "always"
        self._ask = color == "auto"
        self._senders = 0
        self._json = JsonEncoder()
        self._read = msgspec.json.Decoder(Event).decode

    def sent_by(self, sender: BaseSender) -> None:
        """Uses colours when every sender of its frames writes to a terminal."""
        if self._ask:
            self._color = sender.isatty() and not wants_no_colour() and (self._color or not self._senders)
        self._senders += 1

    @property
    def repaired(self) -> int:
        """Events of which a value had to be converted."""
        return self._json.repaired

    def encode(self, event: Event) -> bytes:
        """One event as a line, or several when it carries a traceback; never raises."""
        event = self._read(self._json.encode(event))
        moment = event.timestamp.astimezone(UTC)
        time = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
        who = f"{escape(event.type)} {escape(event.logger)}".rstrip()
        head = f"{self._paint('2', time)} {self._paint(COLOURS[event.severity], _NAMES[event.severity])} {who}:"
        parts = [head]
        if event.payload:
            parts.append(escape(event.payload))
        trace = event.fields.get("traceback")
        for name, value in event.fields.items():
            if name != "traceback" or not isinstance(trace, str):
                parts.append(f"{self._paint('36', escape(name))}={value_text(value)}")
        if event.weight != 1.0:
            parts.append(f"{self._paint('36', 'weight')}={event.weight:g}")
        line = " ".join(parts)
        if isinstance(trace, str):
            line += "".join(f"\n    {escape(each)}" for each in trace.split("\n"))
        return line.encode()

    def frame(self, encoded: list[bytes]) -> bytes:
        """The lines, the last one ended too."""
        return b"\n".join([*encoded, b""])

    def decode(self, frame: bytes) -> list[Event]:
        """Raises DecodeError: text is for people."""
        raise DecodeError("text is for people and cannot be read back; use the encoder json or msgpack for a listener")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._color else text


def escape(text: str) -> str:
    """Returns the text with every control character as an escape, so that it can neither forge a line nor drive a terminal."""
    return _CONTROL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def value_text(value: Any) -> str:
    """Returns a field's value for people: a word as it is, anything else as JSON, without control characters."""
    if isinstance(value, str):
        text = value
        if text and not _QUOTED.search(text):
            return escape(text)
    return escape(msgspec.json.encode(value).decode())
