"""Several ways out for one event: what the sender `tee` is in a client."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from metlog.core.lifecycle import live
from metlog.core.pipeline import Pipeline
from metlog.core.stats import AtomicCounter, Stats
from metlog.event import Event

__all__ = ["FanOut"]


class FanOut(Pipeline):
    """Several ways out for one event (`tee`): each branch has filters, a stream, an encoder and a buffer of its own."""

    def __init__(self, *, branches: Sequence[Pipeline], **rest: Any) -> None:
        super().__init__(**rest)
        self.branches = tuple(branches)
        for number, branch in enumerate(self.branches):
            branch.branch_index = (number, len(self.branches))
            live.discard(branch)  # closed before this one, it would lose what filters add at the end
        self._successor: Pipeline | None = None
        self._entered, self._left = AtomicCounter(), AtomicCounter()  # calls of `accept`
        if self.chain.ticks:
            self.buffer.start()  # its flusher keeps the filters' time

    def accept(self, event: Event) -> None:
        """Gives each branch a copy: all of them, or none and the successor instead."""
        next(self._entered)
        try:
            if self._successor is None:
                for branch in self.branches:
                    branch.accept_copy(event)
            else:
                self._successor.accept_copy(event)
        finally:
            next(self._left)

    def lose(self, error: BaseException) -> None:
        """Each branch counts it."""
        for branch in self.branches:
            branch.lose(error)

    def accept_late(self, event: Event, index: int, count: int) -> bool:
        """As a pipeline does; but with as many branches as before, each accepts what its predecessor did not send."""
        if count != len(self.branches):
            return super().accept_late(event, index, count)
        kept = self.chain.apply(event, self.chain.calls)
        if kept is not None:
            self.branches[index].accept_copy(kept)
        return True

    def stats(self) -> Stats:
        """The sum over the branches; `accepted` counts an event once for each branch that took it."""
        total = Stats(filtered=self.chain.filtered.value, errors=self.counts.errors)
        for branch in self.branches:
            total.add(branch.stats())
        return total

    def flush(self, deadline: float) -> bool:
        """Flushes every branch, all against the one deadline."""
        collected = self.collect(deadline)
        self.drain(deadline)
        return all([branch.flush(deadline) for branch in self.branches]) and collected

    def drain(self, deadline: float) -> None:
        """Drains every branch."""
        self.collect(deadline)
        for branch in self.branches:
            branch.drain(deadline)

    def close(self, deadline: float, successor: Pipeline | None = None) -> None:
        """Closes every branch, all against the one deadline; one that raises keeps no other from its own."""
        with ExitStack() as stack:
            for branch in reversed(self.branches):
                stack.callback(branch.close, deadline, successor)
            super().close(deadline, successor)

    def replaced_by(self, successor: Pipeline) -> None:
        """Gives the successor what is accepted from now on."""
        self._successor = successor

    def calls_under_way(self) -> bool:
        """Whether another thread is giving the branches an event."""
        left = self._left.value  # read first: calls that enter after this go to the successor
        return left < self._entered.value

    def after_fork(self) -> None:
        """In a forked child, and so for each branch; one that raises keeps no other from its own."""
        with ExitStack() as stack:
            for branch in reversed(self.branches):
                stack.callback(branch.after_fork)
            self._entered, self._left = AtomicCounter(), AtomicCounter()
            super().after_fork()
