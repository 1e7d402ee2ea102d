"""Base of senders that may wait: closed from another thread, bounded at shutdown, recreated in a forked child."""

from __future__ import annotations

import threading

from metlog.senders._deadline import Deadline
from metlog.senders.options import NotPicklable, closed

__all__ = ["BlockingSender"]

CLOSE_WAIT = 0.2
"""Seconds that `close` waits for a `send` under way to return, after waking it."""


class BlockingSender(NotPicklable):
    """`send` for one frame at a time; the transport is in the four methods at the end.

    Whichever of `send` and `close` returns last closes the descriptor, so that it is never closed while in use (its number
    may be reused).
    """

    def __init__(self) -> None:
        self._fresh_state()

    def _fresh_state(self) -> None:
        self._deadline = Deadline()
        self._busy = threading.Lock()

    def send(self, frame: bytes) -> None:
        """Sends the frame; raises `metlog.errors.SenderError` when it is known to be lost."""
        if not frame:
            return
        with self._busy:
            if self._deadline.closed:
                raise closed(self)
            try:
                self._send(frame)
            finally:
                if self._deadline.closed:
                    self._release()

    def flush(self) -> None:
        """Hands on what the sender itself still holds."""
        with self._busy:
            if not self._deadline.closed:
                self._flush()

    def deadline(self, seconds: float) -> None:
        """From now on all waiting together ends within so many seconds."""
        self._deadline.limit(seconds)

    def close(self) -> None:
        """Releases everything; makes a `send` under way in another thread come back soon."""
        if self._deadline.closed:
            return
        self._deadline.close()
        self.interrupt()
        if self._busy.acquire(timeout=CLOSE_WAIT):
            try:
                self._flush()
            finally:
                try:
                    self._release()
                finally:
                    self._busy.release()

    def after_fork(self) -> None:
        """The child starts with nothing open; what the parent has open is not touched."""
        was_closed = self._deadline.closed
        self._release()
        self._fresh_state()
        if was_closed:
            self._deadline.close()

    # The transport.

    def _send(self, frame: bytes) -> None:
        """Sends one frame that is not empty."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Hands on what is held."""

    def interrupt(self) -> None:
        """Wakes a call that waits in `_send`. Called from another thread; releases nothing."""

    def _release(self) -> None:
        """Closes this process's descriptors without sending anything to the peer; called again, does nothing."""
