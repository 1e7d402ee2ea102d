"""A sender that throws frames away: what a benchmark of the call itself sends to."""

from __future__ import annotations

__all__ = ["NullSender"]


class NullSender:
    """Takes every frame and keeps none."""

    nonblocking = True

    def __init__(self, *, max_frame: int = 8192) -> None:
        self.max_frame = max_frame

    def send(self, frame: bytes) -> None:
        """Forgets the frame."""

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is open."""
