"""How a pipeline that `configure` replaces hands over: other threads may be in the middle of a call that logs."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Final, Protocol

from metlog.core.stats import Counts
from metlog.core.stream import Stream
from metlog.event import Event

__all__ = ["Predecessor", "Succession", "Successor", "await_calls"]

_GRACE: Final = 0.1  # seconds that calls under way are waited for
_POLL: Final = 0.0005  # seconds between two looks whether they are done


class Successor(Protocol):
    """The pipeline that takes over."""

    def accept_late(self, event: Event, index: int, count: int) -> bool:
        """Accepts an event from branch `index`, of `count`, of the pipeline that this one replaces; False: it is not taken."""


class Predecessor(Protocol):
    """The pipeline that is replaced."""

    branch_index: tuple[int, int]
    counts: Counts
    stream: Stream

    def calls_under_way(self) -> bool:
        """Whether another thread has a `seq` of this stream and has not yet appended its event."""

    def drain(self, deadline: float) -> None:
        """Hands what is pending to the sender."""


class Succession:
    """Passes late events of one pipeline to its successor."""

    def __init__(self, old: Predecessor, successor: Successor) -> None:
        self._old = old
        self._successor = successor

    def pass_on(self, event: Event) -> None:
        """Passes an event that was appended after the end through the successor's filters to its sender."""
        if self._successor.accept_late(event, *self._old.branch_index):
            self._old.stream.hand_over()
        else:
            self._old.counts.dropped("closed", 1)


def await_calls(old: Predecessor, deadline: float) -> None:
    """Waits a moment for calls under way: an event that came after the stream's end would be a gap."""
    end = min(deadline, monotonic() + _GRACE)
    while old.calls_under_way() and monotonic() < end:
        sleep(_POLL)
        old.drain(end)
