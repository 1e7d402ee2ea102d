"""What goes to a terminal: text of events, reports and files in which nothing steers it.

A control character in a payload, a column's name or a saved report could move the cursor, change the title or answer for the keyboard.
Where standard output or standard error is a terminal, everything passes here; of escape sequences only colours do, which tables use.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, TextIO, cast

__all__ = ["guarded", "legible", "legible_bytes"]

_STEERS: Final = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_ALL: Final = re.compile(f"[{_STEERS}]")
_BUT_COLOURS: Final = re.compile(rf"\x1b\[(?!(?:[0-9;]*;)?8[;m])[0-9;]*m|([{_STEERS}])")
"""A colour, but for 8, which hides text; or a character that steers."""


def legible(text: str) -> str:
    """The text with U+FFFD in place of what steers a terminal or turns the direction of writing; tabs and ends of lines stay."""
    return _ALL.sub("\N{REPLACEMENT CHARACTER}", text)


class _Text(io.TextIOBase):
    """A terminal's stream of text behind the rule above."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> BinaryIO:
        """For bytes: without colours."""
        return legible_bytes(self._stream.buffer)

    def write(self, text: str) -> int:
        self._stream.write(_BUT_COLOURS.sub(lambda found: "\N{REPLACEMENT CHARACTER}" if found[1] else found[0], text))
        return len(text)

    def flush(self) -> None:
        if not self._stream.closed:  # the end of this object, which may outlive the terminal's stream, flushes too
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True


class _Bytes(io.RawIOBase):
    """A terminal's stream of bytes; characters that are cut in two between writes are put together."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any) -> int:
        self._stream.write(legible(self._decoder.decode(bytes(data))).encode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()

    def writable(self) -> bool:
        return True


def legible_bytes(stream: BinaryIO) -> BinaryIO:
    """A stream to a terminal whose text is UTF-8."""
    return cast("BinaryIO", _Bytes(stream))


@contextmanager
def guarded() -> Iterator[None]:
    """Puts standard output and standard error behind the rule, each where it is a terminal."""
    before = sys.stdout, sys.stderr
    if sys.stdout.isatty():
        sys.stdout = cast("TextIO", _Text(sys.stdout))
    if sys.stderr.isatty():
        sys.stderr = cast("TextIO", _Text(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
