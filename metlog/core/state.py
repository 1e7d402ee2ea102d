"""What a client and those bound to it share: the pipeline, which `configure` swaps whole, and what goes with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from time import monotonic
from types import MethodType
from typing import Any, Final, Protocol
from weakref import WeakSet

from metlog.core.pipeline import Pipeline, Unconfigured
from metlog.core.timer import DisabledTimer
from metlog.errors import ConfigError

__all__ = ["ClientState", "unconfigured"]

_UNCONFIGURED: Final = (
    "metlog is not configured: events are counted and left out (metlog.configure() sends them; told once)"
)
_CLOSED: Final = "metlog is closed: events are counted and left out (told once)"


class Plan(Protocol):
    """What `ClientState.install` needs of a checked configuration (`metlog.config.Plan`)."""

    disabled_timers: frozenset[str]

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The client methods that the configuration's plugins give, by name."""

    def make_statsd(self) -> Any:
        """A statsd client; None when the configuration asks for none."""

    def pipeline(self) -> Pipeline:
        """Opens and builds the pipeline; raises ConfigError, and then leaves nothing open."""

    def discard(self) -> None:
        """Closes what was prepared and is not used."""


class ClientState:
    """One for each client that was not made by `bind`."""

    __slots__ = (
        "__weakref__",
        "clients",
        "disabled_timer_cache",
        "disabled_timers",
        "methods",
        "name",
        "pipeline",
        "plan",
        "statsd",
    )  # fmt: skip

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.plan: Any = None  # the `metlog.config.Plan` in force
        self.pipeline: Pipeline | Unconfigured = (
            unconfigured() if pipeline_override is None else pipeline_override(None)
        )
        self.disabled_timers: frozenset[str] = frozenset()
        self.disabled_timer_cache: dict[str, DisabledTimer] = {}
        self.statsd: Any = None
        self.methods: dict[str, Callable[..., Any]] = {}
        self.clients: WeakSet[Any] = WeakSet()
        states.add(self)

    def install(self, made: Plan) -> None:
        """Builds a checked plan (`metlog.config.plan`) and swaps it in; ConfigError changes nothing."""
        methods = made.methods()
        statsd = made.make_statsd() if pipeline_override is None else None
        try:
            pipeline = made.pipeline() if pipeline_override is None else pipeline_override(made)
        except ConfigError:
            if statsd is not None:
                statsd.close()
            raise
        for name, method in methods.items():
            self.add_method(name, method)
        old_statsd, self.statsd = self.statsd, statsd
        self.disabled_timer_cache = {}
        self.disabled_timers = made.disabled_timers
        self.swap(pipeline)
        self.plan = made
        if old_statsd is not None:
            old_statsd.close()

    def swap(self, pipeline: Pipeline | Unconfigured) -> None:
        """Puts a pipeline in place; the old one sends what it holds and ends its stream."""
        old = self._exchange(pipeline)
        old.close(monotonic() + old.exit_timeout, pipeline if isinstance(pipeline, Pipeline) else None)

    def close(self, timeout: float | None) -> None:
        """Sends the rest and the end of the stream within `timeout` seconds (None: `exit_timeout`)."""
        if isinstance(self.pipeline, Pipeline):
            closed = Unconfigured(_CLOSED)
            old, self.plan = self._exchange(closed), None
            old.close(monotonic() + (old.exit_timeout if timeout is None else timeout))
            final = old.stats()
            closed.stats = lambda: final  # type: ignore[method-assign]  # the counts stay readable after the end
        if self.statsd is not None:
            self.statsd.close()

    def _exchange(self, pipeline: Pipeline | Unconfigured) -> Pipeline | Unconfigured:
        """Puts a pipeline in place, and gives the one that was there: to one of several threads that do so at once."""
        with _exchanging:
            old, self.pipeline = self.pipeline, pipeline
        return old

    def register(self, client: object) -> None:
        """A client more: it gets the methods that were added."""
        self.clients.add(client)
        for name, method in self.methods.items():
            setattr(client, name, MethodType(method, client))

    def add_method(self, name: str, method: Callable[..., Any]) -> None:
        """Each client of this state gets the method for its own: a `__getattr__` would make the whole fast path slower."""
        self.methods[name] = method
        for client in self.clients.copy():
            setattr(client, name, MethodType(method, client))


def unconfigured() -> Unconfigured:
    """What stands in the place of a pipeline before `configure`."""
    return Unconfigured(_UNCONFIGURED)


states: Final[WeakSet[ClientState]] = WeakSet()
"""Of every client in the process."""

pipeline_override: Callable[[Any], Pipeline] | None = None
"""While `metlog.testing.capture` listens: builds what a client gets instead of a plan's pipeline, or instead of none."""

_exchanging = threading.Lock()


def _after_fork() -> None:
    global _exchanging
    _exchanging = threading.Lock()  # a thread that is not in the child may have held it


os.register_at_fork(after_in_child=_after_fork)
