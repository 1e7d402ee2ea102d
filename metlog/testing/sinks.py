"""A sink in memory, for tests of inputs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import msgspec

from metlog.event import Event
from metlog.listener.inputs import Full
from metlog.listener.ordered import Messages
from metlog.listener.validate import Validated, validate, validate_events

__all__ = ["MemorySink"]


class MemorySink:
    """Checks what comes as the listener does, and keeps it.

    >>> sink = MemorySink()
    >>> sink.frame(b'{"type":"login"}\\n{"type":7}', "test://")
    >>> [event["type"] for event in sink.events], [reason for _, _, reason in sink.dead]
    (['login'], ['not an event: Expected `str`, got `int` - at `$.type`'])
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.events: list[dict[str, Any]] = []
        """What was taken, as JSON objects."""
        self.sources: list[str] = []
        """The source of each of them."""
        self.dead: list[tuple[bytes, str, str]] = []
        """What was rejected, its source, and the reason."""
        self.keys: set[str] = set()
        self.full = ""
        """Set, the journal is full for this reason: frames are dropped, `submit` raises `Full`."""
        self.error: Exception | None = None
        """Set, `submit` raises it."""
        self.gate = threading.Event()
        """Cleared, every method that takes events waits until it is set again, as on a disk that hangs."""
        self.gate.set()

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        self.frames([(data, source)], received_at)

    def frames(self, batch: Sequence[tuple[bytes | Validated, str]], received_at: int | None = None) -> None:
        self.gate.wait()
        for data, source in batch:
            validated = data if isinstance(data, Validated) else validate(data)
            with self.lock:
                if not self.full:
                    self._keep(validated.lines, source)
                self.dead += [(item.data, source, item.reason) for item in validated.invalid]

    def opened(self, body: bytes, source: str, key: str = "") -> bytes:
        return body

    def submit(
        self, events: Sequence[Event] | Validated, source: str, *, key: str = "", received_at: int | None = None
    ) -> bool:
        validated = events if isinstance(events, Validated) else validate_events(events)
        self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.full:
            raise Full(self.full)
        with self.lock:
            if key and key in self.keys:
                return False
            self.keys |= {key} - {""}
            self._keep(validated.lines, source)
        return True

    def messages(self, batch: Sequence[Messages]) -> int:
        self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.full:
            raise Full(self.full)
        for messages in batch:
            for frame in messages.frames:
                self.frame(frame, messages.partition.source, messages.received_at)
        return len(self.events)

    def wait(self, lsn: int) -> None:
        self.gate.wait()

    def reject(self, data: bytes, source: str, reason: str) -> None:
        with self.lock:
            self.dead.append((data, source, reason))

    def _keep(self, lines: bytes, source: str) -> None:
        found = [msgspec.json.decode(line) for line in lines.splitlines()]
        self.events += found
        self.sources += [source] * len(found)
