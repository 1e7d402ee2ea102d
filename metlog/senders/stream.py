"""Standard output and standard error: what a container's log collector reads."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import ClassVar, TextIO

from metlog.core.terminal import flush_of, is_terminal
from metlog.errors import SenderError
from metlog.plugins.conversion import Size
from metlog.senders import BaseSender
from metlog.senders.options import at_least, closed

__all__ = ["StderrSender", "StdoutSender"]

PIPE_FRAME = 4096
"""PIPE_BUF of Linux: what a pipe takes in one piece, so that several processes can share one line by line."""

GLANCE = 0.05
"""Seconds between two looks at whether `close` was called, while a reader does not read."""


class _StreamSender(BaseSender):
    """Writes frames to the file descriptor of a standard stream, as it is at that moment (`redirect_stdout` works).

    max_frame
        Bytes; the default, 4,096, is what a pipe takes in one piece: frames of several processes do not mix.

    What the application itself has printed goes first. A reader that does not read holds the sender up, in its own
    thread, until it reads again or the sender is closed; one that is gone (EPIPE) makes `send` raise
    `metlog.errors.SenderError` with the reason `refused`, and the stream stays open.
    """

    _name: ClassVar[str]

    def __init__(self, *, max_frame: Size = PIPE_FRAME) -> None:
        at_least("max_frame", max_frame, 64, "bytes")
        self.max_frame = max_frame
        self._closed = False

    def send(self, frame: bytes) -> None:
        """Writes the whole frame; raises SenderError when that is not possible."""
        if self._closed:
            raise closed(self)
        stream: TextIO | None = getattr(sys, self._name)
        if stream is None:
            raise SenderError(f"this process has no {self._name}", reason="unreachable")
        try:
            flush = flush_of(stream)
            flush()
            try:
                fd = stream.fileno()
            except (OSError, AttributeError):  # a replacement in memory
                stream.write(frame.decode("utf-8", "backslashreplace"))
                flush()
            else:
                self._write(fd, frame)
        except BrokenPipeError as error:
            raise SenderError(f"nobody reads {self._name} any more", reason="refused") from error
        except (OSError, ValueError) as error:  # ValueError: the application closed the stream
            raise SenderError(f"{self._name}: {error}", reason="unreachable") from error

    def _write(self, fd: int, frame: bytes) -> None:
        rest = memoryview(frame)
        if stat.S_ISREG(os.fstat(fd).st_mode):  # never waits for a reader; a partial write means a full disk
            while rest:
                rest = rest[os.write(fd, rest) :]
            return
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while rest:
            # Ready means room for PIPE_BUF bytes: so much is written without waiting in a call that close() cannot end.
            if not poll.poll(GLANCE * 1000):
                if self._closed:
                    raise SenderError(f"closed while {self._name} was not read", reason="timeout")
                continue
            try:
                rest = rest[os.write(fd, rest[:PIPE_FRAME]) :]
            except BlockingIOError:  # the descriptor is non-blocking, and another thread was faster
                continue

    def isatty(self) -> bool:
        """Whether the stream is a terminal at this moment."""
        return is_terminal(getattr(sys, self._name))

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Ends a write under way; the stream is the application's and stays open."""
        self._closed = True


class StdoutSender(_StreamSender):
    """Writes frames to standard output."""

    __doc__ = f"{__doc__}\n{_StreamSender.__doc__}"
    _name = "stdout"


class StderrSender(_StreamSender):
    """Writes frames to standard error."""

    __doc__ = f"{__doc__}\n{_StreamSender.__doc__}"
    _name = "stderr"
