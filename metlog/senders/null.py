"""A sender that throws frames away: what a benchmark of the call itself sends to."""

from __future__ import annotations

from metlog.plugins.conversion import Size
from metlog.senders import BaseSender
from metlog.senders.options import at_least, closed

__all__ = ["NullSender"]


class NullSender(BaseSender):
    """Takes every frame and keeps none."""

    nonblocking = True
    concurrent = True

    def __init__(self, *, max_frame: Size = 8192) -> None:
        at_least("max_frame", max_frame, 64, "bytes")
        self.max_frame = max_frame
        self._closed = False

    def send(self, frame: bytes) -> None:
        """Forgets the frame; raises SenderError once closed."""
        if self._closed:
            raise closed(self)

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Refuses frames from now on."""
        self._closed = True
