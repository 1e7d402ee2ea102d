"""Each event a frame of its own, for a sender that several threads may call at once: no lock, and no other thread's help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from metlog.core.interfaces import BaseSender
from metlog.core.stats import AtomicCounter, Counts

__all__ = ["Immediate"]


class Careful(Protocol):
    """The buffer behind it."""

    pending: list[Any]
    closed: bool

    def append_single(self, item: Any) -> None:
        """Sends an event by itself, under a lock; whatever the event, and whatever has to be sent beside it."""


class Immediate:
    """Encodes and sends an event in the thread that logs it. What is unusual about it or the moment is left to the buffer."""

    __slots__ = ("_count", "_parts", "_sent", "bytes")

    def __init__(
        self,
        buffer: Careful,
        encode: Callable[[list[Any]], bytes],
        sender: BaseSender,
        *,
        max_event: int,
        counts: Counts,
    ) -> None:
        self._parts = buffer.pending, encode, sender, counts, buffer, max_event
        self.reset()

    def reset(self) -> None:
        """Counts from zero."""
        self._sent = AtomicCounter()
        self._count = self._sent.__next__
        self.bytes = 0
        """Bytes sent."""

    @property
    def sent(self) -> int:
        """Events, and frames, sent."""
        return self._sent.value

    def append(self, item: Any) -> None:
        """Sends the event, or counts it as dropped; KeyboardInterrupt and SystemExit are the application's own."""
        # Locals first: a call through an attribute that is no method costs three times as much.
        pending, encode, sender, counts, buffer, most = self._parts
        size = 0
        try:
            if not (pending or counts.unreported or buffer.closed):
                frame = encode([item])
                size = len(frame)
                if size <= most:
                    transmit = sender.transmit or sender.send
                    try:
                        transmit(frame)
                    except OSError as error:
                        sender.recover(frame, error, transmit)
                else:
                    size = 0
        except BaseException as error:
            if not isinstance(error, Exception) or (size and not buffer.closed):
                counts.failed(error, 1)
                if not isinstance(error, Exception):
                    raise
                return
            size = 0  # could not be encoded like this, or the sender was closed meanwhile
        if size:
            count = self._count
            count()
            self.bytes += size  # no call in between: threads take turns, and signals come, at calls only
        else:
            buffer.append_single(item)
