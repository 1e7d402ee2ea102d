"""A sender that keeps its frames, for tests."""

from __future__ import annotations

from collections import deque

from metlog.encoders.wire import decode
from metlog.event import Event
from metlog.plugins.conversion import Size
from metlog.senders import BaseSender
from metlog.senders.options import at_least, closed

__all__ = ["MemorySender"]


class MemorySender(BaseSender):
    """Keeps the last `limit` frames in `frames`; what comes after `close` is refused.

    >>> sender = MemorySender()
    >>> sender.send(b'{"type":"login"}\\n{"type":"logout"}\\n')
    >>> [event.type for event in sender.events]
    ['login', 'logout']
    """

    nonblocking = True
    concurrent = True

    def __init__(self, *, max_frame: Size = 8192, limit: int = 100_000) -> None:
        at_least("max_frame", max_frame, 64, "bytes")
        at_least("limit", limit, 1, "frames")
        self.max_frame = max_frame
        self.frames: deque[bytes] = deque(maxlen=limit)
        self.closed = False

    @property
    def events(self) -> list[Event]:
        """The events of all frames that are kept; DecodeError when one is neither JSON nor MessagePack."""
        return [event for frame in list(self.frames) for event in decode(frame)]

    def send(self, frame: bytes) -> None:
        """Keeps the frame; raises SenderError once closed."""
        if self.closed:
            raise closed(self)
        self.frames.append(frame)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Refuses frames from now on; those that were kept stay readable."""
        self.closed = True

    def clear(self) -> None:
        """Forgets the frames."""
        self.frames.clear()

    def after_fork(self) -> None:
        """A child starts with none of its parent's frames."""
        self.frames.clear()
