"""Bytes of a connection to frames: by line, by a length in front, by syslog's octet counts, by MessagePack's own lengths."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

__all__ = ["BEGINNING", "FRAMINGS", "MAX_FRAME", "Framing", "FramingError", "Lines", "Octets", "framing"]

MAX_FRAME: Final = 512 << 20
"""Bytes of a frame, at most: six times as many, which is what JSON makes of control characters, fit into a record of the journal."""
BEGINNING: Final = 200
"""Bytes that are kept of a frame that is not taken."""
_LENGTH: Final = struct.Struct(">I")
_DIGITS: Final = 10
"""Digits that an octet count may have (RFC 6587, section 3.4.1, names no limit)."""


class FramingError(Exception):
    """The bytes of a connection cannot be cut into frames any further: the connection must end. Its text is the reason."""


class Framing(Protocol):
    """Cuts a byte stream into frames. One object a connection."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yields each frame that `data` completes. Raises `FramingError` after the frames before the fault."""
        ...

    def rest(self) -> bytes:
        """Returns what was not completed, at the end of the connection."""
        ...

    @property
    def pending(self) -> int:
        """Bytes of a frame that has begun."""
        ...

    @property
    def ended(self) -> int:
        """Frames that have ended, those that were skipped too: while it stays the same, so does the frame that is pending."""
        ...

    @property
    def oversized(self) -> int:
        """Frames that were longer than the limit."""
        ...

    def skipped(self) -> list[bytes]:
        """Returns the beginnings of the frames that were skipped, for their length, since the last call."""
        ...


class Lines:
    """Frames that end in a line feed. A longer line than `limit` bytes is skipped up to its end, and counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._beginnings: list[bytes] = []
        self.ended = 0
        self.oversized = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        *whole, last = data.split(b"\n")
        for line in whole:
            self._add(line)
            if self._size:
                self.ended += 1
                if not self._skipping:
                    yield b"".join(self._parts)
            self._parts.clear()
            self._size, self._skipping = 0, False
        self._add(last)

    def _add(self, part: bytes) -> None:
        if self._skipping or not part:
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit:
            self.oversized += 1
            self._skipping = True
            self._beginnings.append(b"".join(self._parts)[:BEGINNING])
            self._parts.clear()

    def skipped(self) -> list[bytes]:
        found, self._beginnings = self._beginnings, []
        return found

    @property
    def pending(self) -> int:
        return self._size

    def rest(self) -> bytes:
        return b"".join(self._parts)


class _Buffered:
    """Frames whose length is known from their beginning."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self.ended = 0
        self.oversized = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while (span := self._span(at)) is not None:
                start, end = span
                if end - start > self._limit:
                    self.oversized += 1
                    raise FramingError(f"a frame of {end - start} bytes; {self._limit} are taken")
                if end > len(buffer):
                    return
                at = end
                self.ended += 1
                yield bytes(buffer[start:end])
        finally:
            del buffer[:at]

    def _span(self, at: int) -> tuple[int, int] | None:
        """Start and end of the frame at `at`; None while its beginning is incomplete."""
        raise TypeError(f"{type(self).__name__} does not say where a frame ends")

    def skipped(self) -> list[bytes]:
        return []  # a frame that is too long ends the connection

    @property
    def pending(self) -> int:
        return len(self._buffer)

    def rest(self) -> bytes:
        return bytes(self._buffer)


class _Lengths(_Buffered):
    """Each frame after its length as four bytes, the highest first."""

    def _span(self, at: int) -> tuple[int, int] | None:
        if len(self._buffer) - at < _LENGTH.size:
            return None
        start = at + _LENGTH.size
        return start, start + int(_LENGTH.unpack_from(self._buffer, at)[0])


class Octets(_Buffered):
    """Syslog over TCP (RFC 6587): octet counting where a frame begins with a digit, else lines ("non-transparent framing")."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._lines: Lines | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._lines is None and not self._buffer and data and not data[:1].isdigit():
            self._lines = Lines(self._limit)
        if self._lines is None:
            yield from super().feed(data)
        else:
            for line in self._lines.feed(data):
                yield line.rstrip(b"\r\0")
            self.ended, self.oversized = self._lines.ended, self._lines.oversized

    def skipped(self) -> list[bytes]:
        return super().skipped() if self._lines is None else self._lines.skipped()

    def _span(self, at: int) -> tuple[int, int] | None:
        buffer = self._buffer
        space = buffer.find(b" ", at, at + _DIGITS + 1)
        count = bytes(buffer[at : space if space >= 0 else at + _DIGITS + 1])
        if count and (not count.isdigit() or len(count) > _DIGITS):
            raise FramingError("wants an octet count and a space before each message (RFC 6587)")
        if space < 0:
            return None
        return space + 1, space + 1 + int(count)

    @property
    def pending(self) -> int:
        return super().pending if self._lines is None else self._lines.pending

    def rest(self) -> bytes:
        return super().rest() if self._lines is None else self._lines.rest()


class _Packed(_Buffered):
    """MessagePack objects one after another; each is a frame."""

    def __init__(self, limit: int) -> None:
        import msgpack

        super().__init__(limit)
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=0
        )  # no limit of its own: it would count all of a read together
        self._errors = (msgpack.exceptions.FormatError, msgpack.exceptions.StackError)
        self._full = msgpack.OutOfData
        self._done = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        buffer = self._buffer
        buffer += data
        try:
            self._unpacker.feed(data)
            while True:
                try:
                    self._unpacker.skip()
                except self._full:
                    self._check(len(buffer))
                    return
                size = self._unpacker.tell() - self._done
                self._check(size)
                self._done += size
                frame = bytes(buffer[:size])
                del buffer[:size]
                self.ended += 1
                yield frame
        except self._errors as error:
            raise FramingError(f"not MessagePack: {type(error).__name__}") from None

    def _check(self, size: int) -> None:
        if size > self._limit:
            self.oversized += 1
            raise FramingError(f"a frame of more than {self._limit} bytes")


FRAMINGS: Final[dict[str, type[Framing]]] = {"lines": Lines, "length": _Lengths, "octets": Octets, "msgpack": _Packed}
"""By the name that the option `framing` has."""


def framing(name: str, limit: int) -> Framing:
    """Returns a new object for one connection; frames have at most `limit` bytes."""
    made: Framing = FRAMINGS[name](limit)  # type: ignore[call-arg]  # a Protocol says nothing of constructors
    return made
