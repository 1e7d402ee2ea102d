"""From events to frames: encodes a batch at once, fills a frame, sends it, and reports drops behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from msgspec import Raw

from metlog.core.adapt import name_of, original
from metlog.core.dispatch import Dispatcher
from metlog.core.interfaces import BaseEncoder, Records
from metlog.core.stats import Counts
from metlog.core.truncate import truncated
from metlog.event import Event

__all__ = ["FrameBuilder", "Item"]

_BETWEEN: Final = 1
"""Byte, at most, that a part takes beside its own: a separator, or its share of the length of MessagePack's array."""
_FILL: Final = 0.95  # of a frame that a chunk should fill, since events vary in size
_FEW: Final = 8  # events of a frame, of which one less is a waste
_CHUNK: Final = 40  # events that are encoded together, at most
_BACKLOG: Final = 4 << 20  # bytes, about, that may be pending before events are shed

Item = Any  # an encoded event (bytes, or a Raw among records) or a record


class FrameBuilder:
    """Builds the frames of one buffer, and gives them to the dispatcher. Called by the owner of the buffer's lock only.

    An encoder with records encodes a chunk of events at once: each of the parts of a frame is then the lines of several.
    """

    __slots__ = (
        "_counts", "_dispatcher", "_encode_frame", "_encoder", "_interval", "_join", "_low", "_max_event", "_max_frame",
        "_most", "_next_report", "_report", "_size", "_unbuffered", "chunk", "count", "ended", "framed", "in_one_go",
        "limit", "oldest", "parts", "records",
    )  # fmt: skip

    def __init__(
        self,
        encoder: BaseEncoder,
        dispatcher: Dispatcher,
        *,
        max_frame: int,
        max_event: int | None,
        unbuffered: bool,
        interval: float,
        counts: Counts,
        report: Callable[[], Event],
    ) -> None:
        self.records: Records | None = encoder.records
        self._encode_frame = None if self.records is None else self.records.frame
        self._join: Callable[[list[bytes]], bytes] = encoder.frame if self.records is None else self.records.join
        self._encoder = encoder
        self._dispatcher = dispatcher
        self._max_frame = max_frame - encoder.overhead
        self._max_event = max_event or sys.maxsize
        self._most = min(self._max_frame, self._max_event)  # bytes of a frame that is sent as it is
        self._unbuffered = unbuffered
        self._low = 0 if unbuffered else int(self._max_frame * 0.8)  # bytes from which a frame is full
        self._interval = interval
        self._counts = counts
        self._report = report
        self.ended = False
        """Whether the stream is at its end, which has all counts: no report of drops follows."""
        self.reset()

    def reset(self) -> None:
        """Forgets what was gathered: it is the parent process's."""
        self.parts: list[bytes] = []
        """Of the next frame, encoded."""
        self.count = 0
        """Events in `parts`."""
        self._size = 0  # bytes in `parts`
        self.framed = 0
        """Events that went into frames, ever."""
        self.limit = _BACKLOG // 300
        """Events that may be pending: a guess until their size is known."""
        self.chunk = self.in_one_go = 1
        """Events to encode at once, and those to wait for: several chunks where frames are small, since what a thread does before
        and after costs as much as such a frame. A guess, likewise."""
        if not self._unbuffered:
            self._expect(400)
        self.oldest: float | None = None
        """Monotonic time of the oldest pending event; known only while no flusher runs."""
        self._next_report = 0.0  # monotonic time

    def encode(self, pending: list[Item], number: int) -> None:
        """Takes pending events, so many or some more, encodes what is not yet encoded, and sends each frame that is full."""
        encode_frame, send, low, most = self._encode_frame, self._dispatcher.send, self._low, self._most
        while number > 0:
            batch = pending[: self.chunk]
            count = len(batch)
            number -= count or number
            before = self.framed + self.count
            try:
                del pending[:count]
                if encode_frame is None:
                    self._add_encoded(batch)
                else:
                    try:
                        lines = encode_frame(batch)
                        size = len(lines)
                    except Exception:  # noqa: BLE001 - a lone surrogate, for instance: encoding event by event tells which one
                        self._add_encoded(self._encode_each(batch))
                    else:
                        if low <= size <= most and not self.parts:  # the usual case: the batch is the frame
                            self.framed += count
                            self.oldest = None
                            send(lines, count)
                            if self._counts.unreported:
                                self.report_drops()
                            continue
                        self._add_records(lines, count)
                if self.parts and self._size >= low:
                    self.send_frame()
            except BaseException:  # such as KeyboardInterrupt: what was not added yet is pending again
                pending[:0] = batch[self.framed + self.count - before :]
                raise

    def _expect(self, size: float) -> None:
        """Goes by events of so many bytes from now on."""
        per_frame = self._max_frame / size
        self.chunk = _chunk_of(int(per_frame if per_frame < _FEW else per_frame * _FILL))
        self.in_one_go = self.chunk * max(1, _CHUNK // self.chunk)

    def _add_records(self, lines: bytes, count: int) -> None:
        size = len(lines) + _BETWEEN
        if self._size + size > self._max_frame and self.parts:
            self.send_frame()
        if size > self._max_frame and count > 1:
            self._expect(size / count)
            self._add_encoded(self._split(lines, count))
        elif lines:
            self.parts.append(lines)
            self._size += size
            self.count += count

    def _add_encoded(self, batch: list[bytes]) -> None:
        for data in batch:
            if type(data) is not bytes:
                try:
                    data = _as_bytes(data, self._encoder)  # noqa: PLW2901
                except TypeError as error:
                    self._counts.failed(error, 1, "encode_error")
                    continue
            size = len(data) + _BETWEEN
            if self.parts and self._size + size > self._max_frame:
                self.send_frame()
            self.parts.append(data)
            self._size += size
            self.count += 1

    def _encode_each(self, batch: list[Item]) -> list[bytes]:
        """A frame for each item of a batch of records; one that cannot be encoded is counted and left out."""
        encoder, records = self._encoder, self.records
        assert records is not None
        encoded: list[bytes] = []
        for item in batch:
            try:
                data = bytes(item) if isinstance(item, (bytes, Raw)) else encoder.encode(records.event(item))
                encoded.append(encoder.frame([data]))
            except Exception as error:  # noqa: BLE001 - an encoder may raise anything
                self._counts.failed(error, 1, "encode_error")
        return encoded

    def _split(self, lines: bytes, count: int) -> list[bytes]:
        """A frame for each of so many events in one frame; all are counted as lost where the encoder cannot tell them apart."""
        assert self.records is not None
        try:
            return list(self.records.split(lines))
        except Exception as error:  # noqa: BLE001 - as above
            self._counts.failed(error, count, "frame_error")
            return []

    def encode_single(self, record: Item) -> bytes | None:
        """The frame of one record; None when there is more to do than to send it: no records, a drop to report, too large."""
        if self._encode_frame is not None and not self._counts.unreported:
            try:
                frame: bytes = self._encode_frame([record])
                if len(frame) <= self._max_event:
                    return frame
            except Exception:  # noqa: BLE001 - as in `encode`
                return None
        return None

    def send_frame(self) -> None:
        """Sends the frame that was gathered."""
        parts, size, count = self.parts, self._size, self.count
        try:
            self.parts, self._size, self.count, self.oldest = [], 0, 0, None
            self.framed += count
            if not self._low <= size <= self._max_frame and not self._unbuffered:
                self._expect(size / count)
                self.limit = max(8 * self.chunk, _BACKLOG * count // size)
            frame = self._join(parts)
            if type(frame) is not bytes:
                frame = _as_bytes(frame, self._encoder)
            if len(frame) > self._max_event:
                cut = truncated(frame, parts[0], self._encoder, self._max_event)
                if cut is None:
                    self._counts.dropped("too_large", count)
                    return
                frame = cut
        except BaseException as error:  # an encoder may raise anything, and so may a signal handler
            self._counts.failed(error, count, "frame_error")
            if not isinstance(error, Exception):
                raise
            return
        self._dispatcher.send(frame, count)
        self.report_drops()

    def report_drops(self) -> None:
        """Sends a report of what was dropped, as a frame of its own; at most one an interval, since it may be dropped as well."""
        if self.ended or not self._counts.unreported or not self._dispatcher.reaches:
            return
        now = monotonic()
        if now >= self._next_report:
            self._next_report = now + self._interval
            self.send_own(self._report())
            if not self._dispatcher.reaches:
                self._counts.unreported = True

    def send_own(self, event: Event) -> None:
        """Sends an event of metlog's own, as a frame of its own. A transport too small for it gets none: it is useless cut.

        One that the encoder cannot take is an error and nothing more: no event of the application is lost by it.
        """
        try:
            frame = _as_bytes(self._encoder.frame([self._encoder.encode(event)]), self._encoder)
        except Exception as error:  # noqa: BLE001 - an encoder may raise anything
            self._counts.error("encode_error", error)
            return
        if len(frame) <= self._max_event:
            self._dispatcher.send(frame, 0)

    def event_of(self, item: Item) -> Event:
        """The event that a pending item stands for; raises what the encoder's `decode` raises."""
        if self.records is not None and not isinstance(item, (bytes, Raw)):
            return self.records.event(item)
        return self._encoder.decode(self._encoder.frame([bytes(item)]))[0]


def _as_bytes(data: object, encoder: BaseEncoder) -> bytes:
    """What an encoder returned; raises TypeError when it is not bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(
            f"the encoder {name_of(original(encoder))} returned a value of type {type(data).__name__}, not bytes"
        )
    return bytes(data)


def _chunk_of(per_frame: int) -> int:
    """How many events to encode at once: all of a small frame, an even part of a large one, so that no call takes much longer
    than others."""
    per_frame = max(1, per_frame)
    return -(-per_frame // -(-per_frame // _CHUNK))
