"""Takes what every client logs, for a while, and puts everything back as it was."""

from __future__ import annotations

import socket
from collections.abc import Container, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from metlog.config import Plan
from metlog.core.adapt import original
from metlog.core.chance import Certain
from metlog.core.context import current
from metlog.core.pipeline import Pipeline, Stats
from metlog.core.state import ClientState
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.senders import BaseSender
from metlog.testing.logged import LoggedEvents

__all__ = ["capture"]

_CLOSING: Final = 5.0  # seconds, at most, in which filters add their last events


class CaptureSender(BaseSender):
    """What `client.sender` is while events are captured: they do not come as far as this."""

    nonblocking = True
    max_frame = 1 << 16

    def send(self, frame: bytes) -> None:
        """Only the end of a stream comes here."""


class _Capturing(Pipeline):
    """The way of an event up to its encoder, in the caller's thread; from there it goes to the test that looks."""

    def __init__(self, plan: Plan, events: LoggedEvents, shared: Container[int]) -> None:
        super().__init__(
            logger=plan.logger,
            hostname=plan.hostname or socket.gethostname(),
            filters=[item.build() for item in plan.filters],
            encoder=JsonEncoder(),
            sender=CaptureSender(),
            fields=plan.fields,
            flush_interval=0.0,
            exit_timeout=plan.exit_timeout,
            on_drop=plan.on_drop,
            chance=Certain(),
        )
        self._events = events
        self._shared = shared  # ids of filters that serve another pipeline too
        if self.chain.ticks:
            self.buffer.start()  # its flusher keeps the filters' time

    def accept(self, event: Event) -> None:
        """Gives the event its `seq`, and hands it over as a receiver would get it."""
        event.seq = next(self.stream.seq)
        try:
            self._events.take(self.encoder.frame([self.encoder.encode(event)]))
        except Exception as error:  # noqa: BLE001 - no room on the disk for what a child logs, say
            self.failed(error, 1, "capture_error")

    def stats(self) -> Stats:
        """The counts, now; every event that was accepted is sent at once."""
        stats = super().stats()
        stats.sent, stats.buffered = stats.sent + stats.buffered, 0
        return stats

    def close(self, deadline: float, successor: Pipeline | None = None) -> None:
        """Ends the stream. A filter that was configured as an object may serve another pipeline too, and is not closed."""
        self.chain.filters = tuple(item for item in self.filters if id(original(item)) not in self._shared)
        super().close(deadline, successor)

    def after_fork(self) -> None:
        """In a child."""
        super().after_fork()
        self._events.after_fork()


@contextmanager
def capture() -> Iterator[LoggedEvents]:
    """Takes what every client logs until the end of the block: the default one, named and bound ones, those made earlier and
    those made meanwhile. Nothing is sent. Then each has its sender, settings and methods back, and `metlog.context` its fields.

    A client keeps its filters, `logger` and `fields`. `configure` checks its settings as always, and opens no sender, nor a
    connection to statsd; nothing is left to chance (`rate=0.1` keeps every event). What forked children log is there too.
    One process can capture in one place at a time, or in one inside the other: the inner one takes the events.

    >>> import metlog
    >>> client = metlog.get_client("billing").bind(tenant="t1")
    >>> with capture() as events:
    ...     client.log("invoice", fields={"amount": 12})
    >>> events[0].fields
    {'tenant': 't1', 'amount': 12}
    """
    events, built, fields = LoggedEvents(), list[Pipeline](), current.get()
    shared = {id(original(item)) for pipeline in ClientState.pipelines() for item in pipeline.filters}

    def make(plan: Plan | None) -> Pipeline:
        """What a client gets in the place of what was planned: the same filters and fields, and no sender."""
        built.append(_Capturing(plan or Plan(), events, shared))
        if plan is not None:
            plan.discard()  # a sender that `configure` has prepared
        return built[-1]

    def close() -> None:
        for pipeline in built:
            pipeline.close(monotonic() + _CLOSING)
        events.end()

    try:
        ClientState.override(make)
    except BaseException:
        close()
        raise
    try:
        yield events
    finally:
        ClientState.restore()
        current.set(fields)
        close()
