"""A thread that empties a Unix datagram socket into a sink."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from metlog.listener.inputs._heartbeat import Heartbeat
from metlog.listener.inputs._stop import StopSignal

__all__ = ["DatagramReader"]

_BATCH: Final = 256
_LAST: Final = 3.0
"""Seconds that a reader which is to end goes on emptying its socket."""


class DatagramReader:
    """Reads datagrams and hands them on in batches. `largest` bytes are taken of each; a longer one is rejected."""

    def __init__(
        self,
        sock: socket.socket,
        name: str,
        largest: int,
        take: Callable[[Sequence[bytes]], None],
        reject: Callable[[bytes, str], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._largest = largest
        self._take = take
        self._reject = reject
        self._stop = StopSignal()
        self.frames = self.bytes = self.oversized = 0
        self._thread = threading.Thread(target=self._run, name=f"metlog-{name}", daemon=True)
        self._heart = Heartbeat(self._thread, name)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Takes what the socket holds, then closes it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._sock.close()
        self._stop.close()

    def health(self) -> str:
        return self._heart.health()

    def _run(self) -> None:
        poll = self._stop.poll_with(self._sock.fileno())
        while not self._stop.is_set():
            self._heart.beat()
            if poll.poll(500):
                self._batch()
        until = time.monotonic() + _LAST
        while self._batch() and time.monotonic() < until:
            self._heart.beat()

    def _batch(self) -> int:
        found: list[bytes] = []
        try:
            for _ in range(_BATCH):
                data = self._sock.recv(self._largest + 1)
                self.frames += 1
                self.bytes += len(data)
                if len(data) > self._largest:
                    self.oversized += 1
                    self._reject(data[:200], f"oversized: a datagram of more than {self._largest} bytes")
                else:
                    found.append(data)
        except BlockingIOError:
            pass
        if found:
            self._take(found)
        return len(found)
