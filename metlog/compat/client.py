"""The original's client: its constructor, its calls and their arguments, on this one's core."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Protocol

import msgspec

from metlog.client import MetlogClient as CoreClient
from metlog.compat.messages import MessageSender
from metlog.compat.plans import filter_component, planned
from metlog.compat.senders import NoSendSender
from metlog.config import Plan
from metlog.core.calls import around
from metlog.core.coerce import joined, rate_of
from metlog.core.pipeline import Pipeline
from metlog.core.timer import Timer
from metlog.errors import MetlogError, Problems
from metlog.event import ENV_VERSION, ONE, Event, Severity
from metlog.senders.null import NullSender
from metlog.values import text_of

__all__ = ["SEVERITY", "CompatClient", "MetlogClient"]


SEVERITY = Severity
"""The original's name for the severities of RFC 5424."""


class _CompatTimer(Timer):
    """A timer whose `result` is whole milliseconds, and whose event may have a logger, a severity and fields.

    `idle`: disabled, or left out by its rate; a block does nothing then. A decorated function asks at each call.
    """

    __slots__ = ("_idle", "_more")

    def __init__(self, client: CompatClient, name: str, rate: float, more: dict[str, Any], *, idle: bool) -> None:
        super().__init__(client, name, rate)
        self._more = more
        self._idle = idle

    @property
    def result(self) -> float | None:
        exact = super().result
        return None if exact is None else round(exact)

    def __enter__(self) -> Timer:
        return self if self._idle else super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        if not self._idle:
            super().__exit__(*exc)

    def _send(self, ms: float) -> None:
        assert isinstance(self._client, CompatClient)
        self._client.timer_send(self._name, round(ms), rate=self._rate, **self._more)

    def __call__(self, function: Any, /) -> Any:
        """The function, each call timed to its end: coroutine functions and generators, too."""
        if not callable(function):
            raise ValueError("Timer objects can only wrap callable objects.")
        assert isinstance(self._client, CompatClient)
        again = partial(self._client.timer, self._name, rate=self._rate, **self._more)
        return around(function, again)


class Holder(Protocol):
    """Keeps clients by name (`metlog.compat.clients`), so that one can be pickled as its name."""

    def name_of(self, client: CompatClient) -> str | None:
        """The name that a client, or one bound to it, is kept under."""

    def get_client(self, name: str) -> CompatClient:
        """The client of that name, made at the first call."""


class CompatClient(CoreClient):
    """The client with the original's arguments. Without a sender it is not active."""

    holder: ClassVar[Holder]

    env_version = ENV_VERSION

    def __init__(
        self,
        sender: Any = None,
        logger: str = "",
        severity: int = 6,
        disabled_timers: Iterable[str] | str | None = None,
        filters: Iterable[Callable[[dict[str, Any]], Any]] | None = None,
    ) -> None:
        super().__init__()
        self.logger, self.severity = logger, severity
        self._config = "{}"
        """The configuration as JSON, for debugging."""
        self._configured: set[str] = set()  # methods that a configuration has added: the next one may replace them
        if sender is not None:
            self.setup(sender, logger, severity, disabled_timers, filters)

    def setup(
        self,
        sender: Any = None,
        logger: str = "",
        severity: int = 6,
        disabled_timers: Iterable[str] | str | None = None,
        filters: Iterable[Callable[[dict[str, Any]], Any]] | None = None,
    ) -> None:
        """Configures the client with objects, as the original's constructor does; raises ConfigError with all faults.

        `sender` is one of `metlog.compat.senders`, or any object with `send_message(msg: dict)`; a filter takes the message
        as a dict and says whether to keep it.
        """
        if sender is None:
            self.close()
            self.logger, self.severity = logger, severity
            return
        disabled = [disabled_timers] if isinstance(disabled_timers, str) else list(disabled_timers or ())
        made = planned(
            sender=sender, logger=logger, severity=severity, disabled_timers=disabled, filters=list(filters or ())
        )
        self.adopt(made, severity)

    def adopt(self, made: Plan, severity: int, config: str | None = None) -> None:
        """Swaps in what was planned; ConfigError changes nothing. `config` is its source as JSON, kept for debugging."""
        self.install(made)
        self.logger, self.severity = made.logger, severity
        if config is not None:
            self._config = config

    # ---- what an application asks of its client ----------------------------------------------------------------------

    @property
    def is_active(self) -> bool:
        """Whether it has a sender (other than `NoSendSender`), and is not closed."""
        return super().is_active and not isinstance(super().sender, NullSender)

    @property
    def sender(self) -> Any:
        """The sender; the very object, where the application gave one of its own."""
        built = super().sender
        return built.inner if isinstance(built, MessageSender) else built

    @sender.setter
    def sender(self, sender: Any) -> None:
        """Puts another in its place, by a new configuration: what the old one holds is sent, and it is closed."""
        plan = self._state.plan
        made = planned(
            sender=NoSendSender() if sender is None else sender,
            logger=self.logger,
            severity=self.severity,
            disabled_timers=self._state.disabled_timers,
            filters=(),
        )
        made.filters = [] if plan is None else list(plan.filters)
        self.adopt(made, self.severity)

    @property
    def filters(self) -> tuple[Any, ...]:
        """The filters, in order. They can be assigned to; `append` is not possible."""
        return super().filters

    @filters.setter
    def filters(self, filters: Iterable[Callable[[dict[str, Any]], Any]]) -> None:
        """Puts others in their place; ConfigError, with every fault, changes nothing."""
        problems, found = Problems(), []
        for number, item in enumerate(filters):
            with problems.catch(f"filters[{number}]"):
                found.append(filter_component(item, f"filters[{number}]"))
        problems.check()
        pipeline, plan = self._state.pipeline, self._state.plan
        if isinstance(pipeline, Pipeline):
            pipeline.set_filters([item.build() for item in found])
        if plan is not None:
            plan.filters = found

    @property
    def hostname(self) -> str:
        """Name of this machine, as events have it."""
        return self._state.pipeline.hostname or socket.gethostname()

    @property
    def pid(self) -> int:
        """Id of this process, as events have it."""
        return os.getpid()

    # ---- the calls that log ------------------------------------------------------------------------------------------

    def metlog(  # type: ignore[override]
        self,
        type: str,
        logger: str | None = None,
        severity: int | None = None,
        payload: str = "",
        fields: dict[str, Any] | None = None,
        *,
        weight: float = ONE,
    ) -> None:
        """Logs an event under a type; logger and severity as configured unless given."""
        pipeline = self._state.pipeline
        if logger is None and isinstance(pipeline, Pipeline) and self.logger != pipeline.logger:
            logger = self.logger  # it was assigned to
        super().metlog(type, logger, self.severity if severity is None else severity, payload, fields, weight=weight)

    def send_message(self, msg: Mapping[str, Any]) -> None:
        """Hands on a whole message of the original's kind; what it does not say is as for `metlog`."""
        try:
            pipeline, severity = self._admitted(msg.get("severity", self.severity))
            if severity >= 0:
                when = msg.get("timestamp")
                event = Event(
                    timestamp=datetime.now(UTC) if when is None else msgspec.convert(when, datetime),
                    type=text_of(msg["type"])[0],
                    tokens=(text_of(msg["type"])[0],),
                    logger=self.logger if msg.get("logger") is None else msg["logger"],
                    severity=severity,
                    payload=text_of(msg.get("payload", ""))[0],
                    fields=joined({}, msg.get("fields")),
                    pid=msg.get("metlog_pid") or self.pid,
                    hostname=msg.get("metlog_hostname") or self.hostname,
                )
                pipeline.accept_copy(event)
        except Exception as error:  # noqa: BLE001 - a call that logs raises nothing
            self._state.pipeline.lose(error)

    def timer(  # type: ignore[override]
        self,
        name: str,
        logger: str | None = None,
        severity: int | None = None,
        fields: dict[str, Any] | None = None,
        rate: float = 1.0,
    ) -> Timer:
        """A timer: context manager and decorator. The rate is enforced here, for a decorated function at each call."""
        rate = rate_of(rate)
        idle = self.timer_disabled(name) or self._left_out(rate)
        return _CompatTimer(self, name, rate, {"logger": logger, "severity": severity, "fields": fields}, idle=idle)

    def timer_send(  # type: ignore[override]
        self,
        name: str,
        elapsed: float,
        logger: str | None = None,
        severity: int | None = None,
        fields: dict[str, Any] | None = None,
        rate: float = 1.0,
    ) -> None:
        """An event of type `timer`; the rate is information only, and gives the event its weight."""
        self._metric("timer", name, elapsed, {"ms": elapsed}, logger, severity, fields, rate)

    def incr(  # type: ignore[override]
        self,
        name: str,
        count: int = 1,
        logger: str | None = None,
        severity: int | None = None,
        fields: dict[str, Any] | None = None,
        rate: float = 1.0,
    ) -> None:
        """Counts, in an event of type `counter`, sampled by the rate; equal ones become one as those of `metlog.incr`."""
        rate = rate_of(rate)
        if self._left_out(rate):
            return
        pipeline = self._state.pipeline
        sums = pipeline.counters
        plain = logger is None and severity is None and self.severity == 6 and self.logger == pipeline.logger
        if sums is not None and plain and rate > 0:
            # The weight of what the rate left out is in the sum, which has a rate of 1 therefore.
            weight = 1.0 / rate if rate < 1 else ONE
            if self._added_up(sums, name, count, weight, joined({}, fields) | {"rate": 1.0}):
                return
        self._metric("counter", name, count, {"count": count}, logger, severity, fields, rate)

    def _left_out(self, rate: float) -> bool:
        return not math.isnan(rate) and not self._state.pipeline.chance.keeps(rate)

    def _metric(
        self,
        kind: str,
        name: str,
        value: float,
        measured: dict[str, Any],
        logger: str | None,
        severity: int | None,
        fields: dict[str, Any] | None,
        rate: float,
    ) -> None:
        share = rate_of(rate)
        weight = 1.0 / share if 0 < share < 1 else ONE
        together = joined({}, fields) | {"name": name, "rate": rate, **measured}
        payload: Any = str(value) if type(value) is float else value
        self.metlog(kind, logger, severity, payload, together, weight=weight)

    def exception(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 1 (ALERT), as the original has it, with the exception being handled.

        As in the original, `exc_info` may be the second argument; anything else there is for the message.
        """
        if args and _is_exc_info(args[0]):
            fields.setdefault("exc_info", args[0])
            args = args[1:]
        fields.setdefault("exc_info", True)
        self._oldstyle(1, msg, args, fields)

    def _with_traceback(self, text: str, trace: str) -> str:
        """As in the original: the traceback stands at the end of the payload, too."""
        return f"{text}\n{trace}" if trace else text

    # ---- methods from plugins ----------------------------------------------------------------------------------------

    def add_method(self, method: Callable[..., Any], override: bool | str = False) -> None:
        """Puts a function on the client under its `metlog_name`, or under the name that `override` gives.

        Raises SyntaxError when the name is in use, unless `override` says that it may be.
        """
        name = self.check_method(method, override)
        self._state.add_method(name, method)
        self._configured.discard(name)

    def check_method(self, method: Callable[..., Any], override: bool | str, *, configured: bool = False) -> str:
        """The name that `add_method` would use; SyntaxError when it is in use, MetlogError when there is none.

        `configured`: a method that an earlier configuration has added may be replaced.
        """
        own = getattr(method, "metlog_name", None) or getattr(method, "__name__", "")
        name = override if isinstance(override, str) else str(own)
        if not name.isidentifier():
            raise MetlogError(f"add_method: {method!r} has no name that can be called; give it a metlog_name")
        if not override and hasattr(self, name) and not (configured and name in self._configured):
            raise SyntaxError(f"The name [{name}] is already in use")
        return name

    def add_configured(self, method: Callable[..., Any], override: bool | str) -> None:
        """Adds a method that a configuration names, once `check_method` has let it pass."""
        name = self.check_method(method, override, configured=True)
        self._state.add_method(name, method)
        self._configured.add(name)

    def __reduce__(self) -> Any:
        name = self.holder.name_of(self)
        if name is None:
            raise TypeError("a client that CLIENT_HOLDER does not keep cannot be pickled; keep it there under a name")
        return _unpickle, (name, self._bound)


def _is_exc_info(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) == 3 and (value == (None, None, None) or isinstance(value[1], BaseException))
    return value is None or isinstance(value, bool | BaseException)


def _unpickle(name: str, bound: dict[str, Any]) -> CompatClient:
    client = CompatClient.holder.get_client(name)
    return client.bind(**bound) if bound else client  # type: ignore[return-value]


MetlogClient = CompatClient
"""The original's name for it."""
