"""A sender that keeps its frames, for tests."""

from __future__ import annotations

from collections import deque

__all__ = ["MemorySender"]


class MemorySender:
    """Keeps the last `limit` frames in `frames`; what comes after `close` is refused."""

    nonblocking = True

    def __init__(self, *, max_frame: int = 8192, limit: int = 100_000) -> None:
        self.max_frame = max_frame
        self.frames: deque[bytes] = deque(maxlen=limit)
        self.closed = False

    def send(self, frame: bytes) -> None:
        """Keeps the frame; raises RuntimeError once closed."""
        if self.closed:
            raise RuntimeError("the memory sender is closed")
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
