"""Takes what every client logs, for a while, and puts everything back as it was."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from time import monotonic
from types import MethodType
from typing import Any, Final, NamedTuple

from metlog.config import Plan
from metlog.core import state as hub
from metlog.core.context import current
from metlog.core.pipeline import Pipeline, Stats, Unconfigured
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.testing.logged import LoggedEvents

__all__ = ["capture"]

_timer: Final[Any] = import_module("metlog.core.timer")  # the module: as an attribute of metlog it is the call
_CLOSING: Final = 5.0  # seconds, at most, that filters get to say their last


class CaptureSender:
    """What `client.sender` is while events are captured: they do not come as far as this."""

    nonblocking = True
    max_frame = 1 << 16

    def send(self, frame: bytes) -> None:
        """Only the end of a stream comes here."""

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """There is nothing to close."""


class _Capturing(Pipeline):
    """The way of an event up to its encoder, in the caller's thread; from there it goes to the test that looks."""

    def __init__(self, plan: Plan, events: LoggedEvents) -> None:
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
        )
        self._events = events
        if self._ticks:
            self.buffer.start()  # its flusher keeps the filters' time

    def accept(self, event: Event) -> None:
        """Gives the event its `seq`, and hands it over as a receiver would get it."""
        event.seq = next(self.seq)
        try:
            self._events.take(self.encoder.frame([self.encoder.encode(event)]))
        except Exception as error:  # noqa: BLE001 - no room on the disk for what a child logs, say
            self.failed(error, 1, "capture_error")

    def stats(self) -> Stats:
        """The counts, now; every event that was accepted is sent at once."""
        stats = super().stats()
        stats.sent, stats.buffered = stats.sent + stats.buffered, 0
        return stats

    def after_fork(self) -> None:
        """In a child."""
        super().after_fork()
        self._events.after_fork()


class _Before(NamedTuple):
    """A client as it was."""

    state: hub.ClientState
    pipeline: Pipeline | Unconfigured
    plan: Plan | None
    rest: tuple[Any, ...]
    methods: dict[str, Any]

    @classmethod
    def of(cls, state: hub.ClientState) -> _Before:
        rest = (state.statsd, state.disabled_timers, state.disabled_timer_cache)
        return cls(state, state.pipeline, state.plan, rest, dict(state.methods))

    def restore(self) -> None:
        state = self.state
        state.pipeline, state.plan = self.pipeline, self.plan
        state.statsd, state.disabled_timers, state.disabled_timer_cache = self.rest
        added = [name for name in state.methods if name not in self.methods]
        state.methods = self.methods
        for one in state.clients.copy():
            for name in added:
                vars(one).pop(name, None)
            for name, method in self.methods.items():
                setattr(one, name, MethodType(method, one))


class _Capture:
    def __init__(self) -> None:
        self.events = LoggedEvents()
        self._built: list[Pipeline] = []
        self._before: list[_Before] = []
        self._set: list[tuple[Any, str, Any]] = []  # attributes of filters, as they were

    def build(self, plan: Plan | None) -> Pipeline:
        """What a client gets in the place of what was planned: the same filters and fields, and no sender."""
        pipeline = _Capturing(plan or Plan(), self.events)
        for item in pipeline.filters:
            if hasattr(item, "chance"):  # a filter that decides by chance keeps all
                self._set.append((item, "chance", item.chance))
                item.chance = _zero
        self._built.append(pipeline)
        return pipeline

    def instead(self, plan: Plan | None) -> Pipeline:
        """The same for `configure`: the sender that it has prepared is not wanted."""
        pipeline = self.build(plan)
        if plan is not None:
            plan.discard()
        return pipeline

    def begin(self) -> None:
        self._divert, self._chance, self._context = hub.pipeline_override, _timer.chance, current.get()
        # A client of `client_with` has a sender that a test gave it, and keeps it.
        states = [
            state
            for state in _homes()
            if state.plan is not None or isinstance(state.pipeline, (Unconfigured, _Capturing))
        ]
        self._before = [_Before.of(state) for state in states]
        for before in self._before:
            self._set += [(item, "emit", item.emit) for item in before.pipeline.filters if hasattr(item, "emit")]
        try:
            pipelines = [self.build(before.plan) for before in self._before]
        except BaseException:
            self._close()
            raise
        for before, pipeline in zip(self._before, pipelines, strict=True):
            before.state.pipeline, before.state.statsd = pipeline, None
        hub.pipeline_override, _timer.chance = self.instead, _zero

    def end(self) -> None:
        hub.pipeline_override, _timer.chance = self._divert, self._chance
        current.set(self._context)
        for before in self._before:
            before.restore()
        ours = {id(pipeline) for pipeline in self._built}
        for state in _homes():  # clients made meanwhile
            if id(state.pipeline) in ours:
                state.pipeline, state.plan = hub.unconfigured(), None
        self._close()

    def _close(self) -> None:
        others = {id(item) for before in self._before for item in before.pipeline.filters}
        for pipeline in self._built:
            # A filter that was configured as an object serves both, and goes on.
            pipeline.filters = tuple(item for item in pipeline.filters if id(item) not in others)
            pipeline.close(monotonic() + _CLOSING)
        for item, name, value in reversed(self._set):
            setattr(item, name, value)
        self.events.end()


def _homes() -> list[hub.ClientState]:
    while True:
        try:
            return list(hub.states)
        except RuntimeError:  # another thread made a client meanwhile
            continue


def _zero() -> float:
    return 0.0


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
    now = _Capture()
    now.begin()
    try:
        yield now.events
    finally:
        now.end()
