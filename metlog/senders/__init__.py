"""Senders: take a frame somewhere. One file a sender."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Sender"]


@runtime_checkable
class Sender(Protocol):
    """Takes frames somewhere.

    A complete one, registered as `spool = "mypackage:SpoolSender"` in the entry-point group `metlog.senders`:

    >>> import os
    >>> class SpoolSender:
    ...     max_frame = 65536
    ...     def __init__(self, *, path: str) -> None:
    ...         self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    ...     def send(self, frame: bytes) -> None:
    ...         os.write(self._file, frame)
    ...     def flush(self) -> None:
    ...         os.fsync(self._file)
    ...     def close(self) -> None:
    ...         os.close(self._file)

    Options are the constructor's keyword arguments, converted by their annotations.

    `send` may block and may raise: it runs in a background thread behind a queue bounded in bytes, one call at a time.
    What it raises is counted as dropped, under the exception's `reason` (see `metlog.errors.SenderError`) or
    `send_error`. These optional attributes change that:

    - `nonblocking = True`: `send` never waits (a datagram, a list). It is then called by the thread that fills a frame,
      one call at a time, without the queue.
    - `max_event` (bytes): the most that the transport can carry. A larger event has its payload cut and is marked
      `truncated`. Without it there is no limit.
    - `after_fork()`: called in a forked child before anything else, to drop what belongs to the parent (a socket that
      must not be shared) without telling the peer.
    - `deadline(seconds)`: called at shutdown: from then on all waiting inside `send`, `flush` and `close` together ends
      within that many seconds. Without it `close`, called from another thread, must make a `send` under way return.
    - `stats()`: counts (str to int) of what the sender learnt after `send` had returned, such as refused datagrams.
    - `open()`: called once, after everything in the configuration has proved right, for what should not wait for the
      first frame (a port to bind). It may raise ValueError or OSError. The constructor of a sender that has it opens
      nothing, and is called while other things may still be wrong.
    - `isatty()`: whether what is sent goes to a terminal, where text may have colours.
    - `probe()`: for `metlog doctor`: tries to reach the peer within some seconds, sends nothing that becomes an event,
      and yields what it saw: a text for what is well, a `metlog.errors.SenderError` for what is not.
    """

    max_frame: int
    """Bytes that a frame should not exceed; an event larger than that goes alone."""

    def send(self, frame: bytes) -> None:
        """Takes one frame. Raises when the frame is known to be lost."""
        ...

    def flush(self) -> None:
        """Hands on whatever the sender itself still holds."""
        ...

    def close(self) -> None:
        """Releases everything. Called once more, it does nothing."""
        ...
