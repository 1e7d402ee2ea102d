"""A sink that remembers, and deliveries made by hand."""

from __future__ import annotations

from metlog.event import Event
from metlog.listener.outputs import Batch, Delivery
from metlog.testing import MemorySink as FakeSink

__all__ = ["FakeSink", "batch", "numbered"]


def batch(*events: Event, ident: str = "b1") -> Batch:
    return Batch(ident, [Delivery(event, 0, "test://") for event in events], 0)


def numbered(count: int, start: int = 0) -> list[Event]:
    return [Event(type="numbered", fields={"n": n}) for n in range(start, start + count)]
