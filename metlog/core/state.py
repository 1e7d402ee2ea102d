"""What a client and those bound to it share: the pipeline, which `configure` swaps whole, and what goes with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import MethodType
from typing import Any, ClassVar, NamedTuple, Protocol

from metlog.core.living import Living
from metlog.core.pipeline import Pipeline
from metlog.core.timeouts import deadline_in
from metlog.core.unconfigured import CLOSED, UNCONFIGURED, Unconfigured

__all__ = ["ClientState", "Plan"]


class Plan(Protocol):
    """What `ClientState.install` needs of a checked configuration (`metlog.config.Plan`)."""

    disabled_timers: frozenset[str]

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The client methods that the configuration's plugins give, by name."""

    def make_statsd(self) -> Any:
        """A statsd client; None when the configuration asks for none."""

    def pipeline(self) -> Pipeline:
        """Opens and builds the pipeline; where it raises, it leaves nothing open."""

    def discard(self) -> None:
        """Closes what was prepared, where that is not a pipeline's yet."""


Make = Callable[[Any], Pipeline]
"""Builds a pipeline in place of a plan's; the argument is None for a client that is not configured."""


class ClientState:
    """One for each client that was not made by `bind`."""

    __slots__ = (
        "__weakref__", "_default_plan", "clients", "disabled_timers", "methods", "name", "pinned", "pipeline",
        "plan", "statsd",
    )  # fmt: skip

    _all: ClassVar[Living[ClientState]] = Living()
    _overrides: ClassVar[list[_Override]] = []

    def __init__(self, name: str | None, default_plan: Callable[[], Plan | None] | None = None) -> None:
        """`default_plan`: what the first event of a client that was never configured installs; it may return None."""
        self.name = name
        self._default_plan = default_plan
        self.plan: Any = None  # the `metlog.config.Plan` in force
        self.pinned = False  # the pipeline was given by `use`
        self.pipeline: Pipeline | Unconfigured = self._not_configured()
        self.disabled_timers: frozenset[str] = frozenset()
        self.statsd: Any = None
        self.methods: dict[str, Callable[..., Any]] = {}
        self.clients: Living[Any] = Living()
        self._all.add(self)

    # ---- configuration -----------------------------------------------------------------------------------------------

    def install(self, made: Plan) -> None:
        """Builds a checked plan and swaps it in; what is raised by that changes nothing, and leaves nothing open."""
        override = self._overrides[-1] if self._overrides else None
        statsd = None
        try:
            methods = made.methods()
            statsd = made.make_statsd() if override is None else None
            pipeline = made.pipeline() if override is None else override.make(made)
        except BaseException:
            made.discard()
            if statsd is not None:
                statsd.close()
            raise
        for name, method in methods.items():
            self.add_method(name, method)
        old_statsd, self.statsd = self.statsd, statsd
        self.disabled_timers = made.disabled_timers
        self._swap(pipeline)
        self.plan, self.pinned = made, False
        if old_statsd is not None:
            old_statsd.close()

    def use(self, pipeline: Pipeline) -> None:
        """Puts a pipeline in place that was built by hand; `override` leaves it alone."""
        self._swap(pipeline)
        self.plan, self.pinned = None, True

    def close(self, timeout: float | None) -> None:
        """Sends the rest and the end of the stream within `timeout` seconds (None: `exit_timeout`), and closes the statsd client."""
        deadline = None if timeout is None else deadline_in(timeout)
        if isinstance(self.pipeline, Pipeline):
            closed = Unconfigured(CLOSED)
            old, self.plan = self._exchange(closed), None
            old.close(deadline_in(old.exit_timeout) if deadline is None else deadline)
            closed.final_stats = old.stats()  # the counts stay readable after the end
        if self.statsd is not None:
            self.statsd.close()

    def _swap(self, pipeline: Pipeline) -> None:
        """Puts a pipeline in place; the old one sends what it holds and ends its stream."""
        old = self._exchange(pipeline)
        old.close(deadline_in(old.exit_timeout), pipeline)

    def _exchange(self, pipeline: Pipeline | Unconfigured) -> Pipeline | Unconfigured:
        """Puts a pipeline in place and returns the old one: to one of several threads that do so at once."""
        with _exchanging:
            old, self.pipeline = self.pipeline, pipeline
        return old

    # ---- clients -----------------------------------------------------------------------------------------------------

    def register(self, client: object) -> None:
        """Adds a client, which gets the methods that were added."""
        self.clients.add(client)
        for name, method in self.methods.copy().items():  # threads add others meanwhile
            _put_on(client, name, method)

    def add_method(self, name: str, method: Callable[..., Any]) -> None:
        """Gives each client the method as an attribute of its own: a `__getattr__` would slow every call."""
        self.methods[name] = method
        for client in self.clients:
            _put_on(client, name, method)

    # ---- for tests ---------------------------------------------------------------------------------------------------

    @classmethod
    def override(cls, make: Make) -> None:
        """Gives every client in the process a pipeline of `make`, those configured or made later too, until `restore`.

        Called again before that, the inner one holds until its own `restore`. The pipelines in force stay open. What `make`
        raises changes nothing.
        """
        states = [state for state in cls._all if not state.pinned]
        pipelines = [make(state.plan) for state in states]
        saved = [_Saved.of(state) for state in states]
        for state, pipeline in zip(states, pipelines, strict=True):
            state.pipeline, state.statsd = pipeline, None
        cls._overrides.append(_Override(make, saved))

    @classmethod
    def restore(cls) -> None:
        """Ends the last `override`: each client has its pipeline, settings and methods back; one made since has none."""
        override = cls._overrides.pop()
        before = {id(saved.state): saved for saved in override.saved}
        for state in cls._all:
            if id(state) in before:
                before[id(state)].restore()
            elif not state.pinned:
                state.pipeline, state.plan = state._not_configured(), None

    @classmethod
    def pipelines(cls) -> list[Pipeline | Unconfigured]:
        """The pipeline of each client in the process."""
        return [state.pipeline for state in cls._all]

    def _not_configured(self) -> Pipeline | Unconfigured:
        return self._overrides[-1].make(None) if self._overrides else Unconfigured(UNCONFIGURED, self._install_default)

    def _install_default(self) -> bool:
        made = self._default_plan() if self._default_plan is not None else None
        if made is not None:
            self.install(made)
        return made is not None


class _Saved(NamedTuple):
    """A client's state as it was before an `override`."""

    state: ClientState
    pipeline: Pipeline | Unconfigured
    plan: Any
    pinned: bool
    statsd: Any
    disabled_timers: frozenset[str]
    methods: dict[str, Callable[..., Any]]

    @classmethod
    def of(cls, state: ClientState) -> _Saved:
        return cls(
            state=state,
            pipeline=state.pipeline,
            plan=state.plan,
            pinned=state.pinned,
            statsd=state.statsd,
            disabled_timers=state.disabled_timers,
            methods=state.methods.copy(),
        )

    def restore(self) -> None:
        state = self.state
        for name in ("pipeline", "plan", "pinned", "statsd", "disabled_timers"):
            setattr(state, name, getattr(self, name))
        if isinstance(state.pipeline, Pipeline):  # a filter that was given as an object may have served both
            state.pipeline.set_filters(state.pipeline.filters)
        added = state.methods.keys() - self.methods.keys()
        state.methods = self.methods
        for client in state.clients:
            for name in added:
                vars(client).pop(name, None)
            if "log" in added:
                client._plain = client._has_plain_log()
            state.register(client)


class _Override(NamedTuple):
    make: Make
    saved: list[_Saved]


def _put_on(client: Any, name: str, method: Callable[..., Any]) -> None:
    setattr(client, name, MethodType(method, client))
    if name == "log":
        client._plain = False  # timers and the like go through it


_exchanging = threading.Lock()


def _after_fork() -> None:
    global _exchanging
    _exchanging = threading.Lock()  # a thread that is not in the child may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
