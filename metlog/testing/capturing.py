"""Takes what every client logs, for a while, and puts everything back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from time import monotonic
from types import MethodType
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from metlog import client
from metlog.config import Plan
from metlog.context import current
from metlog.encoders.json import JsonEncoder
from metlog.pipeline import Pipeline, Unconfigured
from metlog.plugins import Component
from metlog.testing.logged import LoggedEvents

__all__ = ["capture"]

_timer: Final[Any] = import_module("metlog.timer")  # the module: as an attribute of metlog it is the call
_PATIENCE: Final = 5.0  # seconds for what other threads have in hand


class _Taker:
    """The sender of a client whose events are captured."""

    nonblocking = True
    max_frame = 1 << 26

    def __init__(self, events: LoggedEvents) -> None:
        self._events = events

    def send(self, frame: bytes) -> None:
        """Takes the events of a frame."""
        self._events.take(frame)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Others may go on."""

    def after_fork(self) -> None:
        """In a child."""
        self._events.after_fork()


class _Before(NamedTuple):
    """A client as it was."""

    home: client._Home
    pipeline: Pipeline | Unconfigured
    plan: Plan | None
    rest: tuple[Any, ...]
    methods: dict[str, Any]

    @classmethod
    def of(cls, home: client._Home) -> _Before:
        rest = (home.statsd, home.disabled_timers, home.idle_timers)
        return cls(home, home.pipeline, home.plan, rest, dict(home.methods))

    def restore(self) -> None:
        home = self.home
        home.pipeline, home.plan = self.pipeline, self.plan
        home.statsd, home.disabled_timers, home.idle_timers = self.rest
        added = [name for name in home.methods if name not in self.methods]
        home.methods = self.methods
        for one in home.clients.copy():
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
        """What is built in the place of a plan: its filters and fields, and a sender that takes everything at once."""
        sender = Component("sender", "capture", "sender", lambda: _Taker(self.events), {})
        encoder = Component("encoder", "json", "encoder", JsonEncoder, {})
        made = replace(plan or Plan(), sender=sender, encoder=encoder, buffer={"flush_interval": 0.0}, statsd=False)
        pipeline = made.pipeline()
        for item in pipeline.filters:
            if hasattr(item, "chance"):  # a filter that decides by chance keeps all
                self._set.append((item, "chance", item.chance))
                item.chance = _zero
        self._built.append(pipeline)
        return pipeline

    def begin(self) -> None:
        self._divert, self._chance, self._context = client.divert, _timer.chance, current.get()
        # A client of `client_with` has a sender that a test gave it, and keeps it.
        homes = [home for home in _homes() if home.plan is not None or isinstance(home.pipeline, Unconfigured)]
        self._before = [_Before.of(home) for home in homes]
        for before in self._before:
            self._set += [(item, "emit", item.emit) for item in before.pipeline.filters if hasattr(item, "emit")]
        try:
            pipelines = [self.build(before.plan) for before in self._before]
        except BaseException:
            self._close()
            raise
        for before, pipeline in zip(self._before, pipelines, strict=True):
            before.home.pipeline, before.home.statsd = pipeline, None
        client.divert, _timer.chance = self.build, _zero
        self.events.start(self._settle)

    def end(self) -> None:
        client.divert, _timer.chance = self._divert, self._chance
        current.set(self._context)
        for before in self._before:
            before.restore()
        ours = {id(pipeline) for pipeline in self._built}
        for home in _homes():  # clients made meanwhile
            if id(home.pipeline) in ours:
                home.pipeline, home.plan = Unconfigured(client._UNCONFIGURED), None
        self._close()

    def _settle(self) -> None:
        for pipeline in self._built:
            pipeline.flush(monotonic() + _PATIENCE)

    def _close(self) -> None:
        others = {id(item) for before in self._before for item in before.pipeline.filters}
        for pipeline in self._built:
            # A filter that was configured as an object serves both, and goes on.
            pipeline.filters = tuple(item for item in pipeline.filters if id(item) not in others)
            pipeline.close(monotonic() + _PATIENCE)
        for item, name, value in reversed(self._set):
            setattr(item, name, value)
        self.events.end()


def _homes() -> list[client._Home]:
    while True:
        try:
            return list(client.homes)
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
