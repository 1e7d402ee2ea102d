"""A sink that remembers, deliveries made by hand, and waiting with a deadline."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import msgspec

from metlog.event import Event
from metlog.listener.inputs import Full
from metlog.listener.outputs import Batch, Delivery
from metlog.listener.validate import validate, validate_events


class FakeSink:
    """As the listener's sink: checks what comes, keeps it in memory."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.events: list[dict[str, Any]] = []
        self.sources: list[str] = []
        self.dead: list[tuple[bytes, str, str]] = []
        self.keys: set[str] = set()
        self.full = ""
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        self.frames([(data, source)], received_at)

    def frames(self, batch: Sequence[tuple[bytes, str]], received_at: int | None = None) -> None:
        for data, source in batch:
            validated = validate([data])
            with self.lock:
                self._keep(validated.lines, source)
                self.dead += [(bad.data, source, bad.reason) for bad in validated.invalid]

    def submit(self, events: Sequence[Event], source: str, *, key: str = "", received_at: int | None = None) -> bool:
        validated = validate_events(events)
        assert self.gate.wait(20)
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

    def _keep(self, lines: bytes, source: str) -> None:
        found = [msgspec.json.decode(line) for line in lines.splitlines()]
        self.events += found
        self.sources += [source] * len(found)

    def reject(self, data: bytes, source: str, reason: str) -> None:
        with self.lock:
            self.dead.append((data, source, reason))


def batch(*events: Event, ident: str = "b1") -> Batch:
    return Batch(ident, [Delivery(event, 0, "test://") for event in events], 0)


def numbered(count: int, start: int = 0) -> list[Event]:
    return [Event(type="numbered", fields={"n": n}) for n in range(start, start + count)]
