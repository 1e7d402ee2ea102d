"""Checks settings as a whole, and builds pipelines from the checked plan.

Everything is checked before anything is opened, and every fault is reported at once: key, value, remedy.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from metlog.config.schema import Seconds, Size, checked, unknown
from metlog.config.sources import KEYS, as_list, foreign, from_prefixed, gather, is_off
from metlog.core.chance import Chance, chance
from metlog.core.fanout import FanOut
from metlog.core.pipeline import OnDrop, Pipeline
from metlog.errors import ConfigError, Problems
from metlog.plugins import Component, check, components
from metlog.plugins.conversion import convert, shown

__all__ = ["DEFAULT_SENDER", "Buffer", "Plan", "from_prefixed", "gather", "plan"]

DEFAULT_SENDER: Final = "udp://127.0.0.1:5565"

_BRANCH_KEYS: Final = frozenset({"sender", "encoder", "filters", "buffer"})


class Buffer(Struct):
    """The setting `buffer`."""

    max_frame: Annotated[Size, Meta(ge=64, le=1 << 26)] | None = None
    """None: what suits the sender."""
    flush_interval: Annotated[Seconds, Meta(ge=0, le=3600)] = 0.1
    max_bytes: Annotated[Size, Meta(ge=1024, le=1 << 34)] = 8 << 20


class Plan(Struct):
    """Settings that were checked, with their components prepared. `pipeline()` opens what they name."""

    logger: str = ""
    hostname: str = ""
    sender: Component | None = None
    encoder: Component | None = None
    filters: list[Component] = field(default_factory=list)
    plugins: list[Component] = field(default_factory=list)
    buffer: dict[str, Any] = field(default_factory=dict)
    statsd: Any = False
    fields: dict[str, Any] = field(default_factory=dict)
    disabled_timers: frozenset[str] = frozenset()
    counters: Literal["sum", "each"] = "sum"
    timers: Literal["each", "summary"] = "each"
    exit_timeout: float = 2.0
    on_drop: OnDrop | None = None
    tests: list[Any] = field(default_factory=list)
    branches: list[Plan] | None = None
    """Of a sender that fans out (`tee`): the plan of each branch."""

    def prepare(self, problems: Problems) -> None:
        """Makes every component, which checks its options; the constructor of a class with an `open()` opens nothing.

        A sender without `open()` may open in its constructor, and is made only when all else is right.
        """
        for item in (self.encoder, *self.filters, *self.plugins, self.sender):
            if item is None or (item is self.sender and problems.lines and not item.opens_late):
                continue
            with problems.catch(item.where):
                item.prepare()
                if item is self.sender and self.branches is None:
                    self._plan_branches(item, problems)

    def _plan_branches(self, sender: Component, problems: Problems) -> None:
        """Plans each branch of a sender that fans out, each under its own key."""
        made = sender.prepare()
        if made.fans_out:
            self.branches = []
            for index, branch in enumerate(made.branch_settings):
                where = f"{sender.where}.senders[{index}]"
                for key in sorted(set(branch) - _BRANCH_KEYS):
                    value = shown(key, branch[key])
                    problems.add(
                        f"{where}.{key} = {value}: a branch has {', '.join(sorted(_BRANCH_KEYS))}; set it outside"
                    )
                known = {key: value for key, value in branch.items() if key in _BRANCH_KEYS}
                with problems.catch(where):
                    self.branches.append(plan(known, where))

    def open(self) -> None:
        """Opens what the sender, and those of the branches, have to open; raises ConfigError."""
        assert self.sender is not None
        self.sender.open()
        for branch in self.branches or ():
            branch.open()

    def discard(self) -> None:
        """Closes what was prepared: this plan is not carried out."""
        for branch in self.branches or ():
            branch.discard()
        if self.sender is not None:
            self.sender.discard()

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The client methods that the plugins give, by name."""
        return {component.name: component.build() for component in self.plugins}

    def make_statsd(self) -> Any:
        """The statsd client of the setting `statsd`; None when it is off."""
        if not self.statsd:
            return None
        from metlog.statsd.client import make

        return make(self.statsd)

    def pipeline(self, chance: Chance = chance) -> Pipeline:
        """Opens and puts together what was planned; raises ConfigError, or what a component raises, and then leaves nothing open."""
        problems = Problems()
        try:
            self.prepare(problems)
            problems.check()
            self.open()
            return self._assembled(chance)
        except BaseException:
            self.discard()
            raise

    def _assembled(self, chance: Chance) -> Pipeline:
        assert self.sender is not None
        assert self.encoder is not None
        common = {
            "logger": self.logger,
            "hostname": self.hostname or socket.gethostname(),
            "filters": [item.build() for item in self.filters],
            "fields": self.fields,
            "exit_timeout": self.exit_timeout,
            "on_drop": self.on_drop,
            "chance": chance,
            "counters": self.counters,
            "timers": self.timers,
            "encoder": self.encoder.build(),
            "sender": self.sender.prepare(),
            **self.buffer,
        }
        with ExitStack() as undone:
            if self.branches is None:
                made = Pipeline(**common)
            else:
                branches = []
                for branch in self.branches:
                    # These settings exist once, for all branches.
                    branch.logger, branch.hostname = self.logger, self.hostname
                    branch.exit_timeout, branch.on_drop = self.exit_timeout, self.on_drop
                    branches.append(branch.pipeline(chance))
                    undone.callback(branches[-1].sender.close)
                made = FanOut(branches=branches, **common)
            undone.pop_all()
        self.sender.build()  # it is the pipeline's from now on
        return made


def plan(settings: Mapping[str, Any], where: str = "") -> Plan:
    """Checks settings as a whole; opens nothing. Raises ConfigError with all faults.

    `where` is the key that the settings stand under, for errors.
    """
    problems = Problems()
    prefix = f"{where}." if where else ""
    values: dict[str, Any] = {}
    if other := foreign(settings, KEYS):
        raise ConfigError(f"{prefix}{other}")
    for key, value in settings.items():
        if key not in KEYS:
            problems.add(unknown(key, value, KEYS, where))
            continue
        if isinstance(value, str) and key in {"filters", "plugins", "disabled_timers"}:
            value = as_list(value)  # noqa: PLW2901 - as an INI file or the environment has them
        try:
            values[key] = convert(value, KEYS[key])
        except ValueError as error:
            problems.add(f"{prefix}{key} = {shown(key, value)}: {error}")
    made = Plan(
        logger=values.get("logger", ""),
        hostname=values.get("hostname", ""),
        fields=values.get("fields", {}),
        disabled_timers=frozenset(values.get("disabled_timers", ())),
        counters=values.get("counters", "sum"),
        timers=values.get("timers", "each"),
        tests=values.get("tests", []),
    )
    with problems.catch(f"{prefix}sender"):
        made.sender = check("sender", values.get("sender", DEFAULT_SENDER), f"{prefix}sender")
    with problems.catch(f"{prefix}encoder"):
        made.encoder = check("encoder", values.get("encoder", "json"), f"{prefix}encoder")
    made.filters = components("filter", values.get("filters"), f"{prefix}filters", problems)
    made.plugins = components("plugin", values.get("plugins"), f"{prefix}plugins", problems)
    made.buffer = checked(Buffer, values.get("buffer", {}), f"{prefix}buffer", problems)
    made.exit_timeout = values.get("exit_timeout", 2.0)
    if not 0 <= made.exit_timeout <= 3600:
        problems.add(f"{prefix}exit_timeout = {made.exit_timeout}: wants 0 to 3600 seconds")
    made.on_drop = values.get("on_drop")
    if made.on_drop is not None and not callable(made.on_drop):
        problems.add(
            f"{prefix}on_drop = {made.on_drop!r}: wants a callable (reason: str, count: int); set it in Python"
        )
    made.statsd = values.get("statsd", False)
    if is_off(made.statsd):
        made.statsd = False
    if made.statsd:
        with problems.catch(f"{prefix}statsd"):
            from metlog.statsd.client import check_settings

            made.statsd = check_settings(made.statsd, f"{prefix}statsd")
    try:
        made.prepare(problems)
        _check_frame(made, prefix, problems)
        problems.check()
    except BaseException:
        made.discard()
        raise
    return made


def _check_frame(made: Plan, prefix: str, problems: Problems) -> None:
    """A frame must not be larger than the transport can carry: what is cut to fit is one event, not a frame of many."""
    wanted = made.buffer.get("max_frame")
    if wanted is None or made.sender is None or (problems.lines and not made.sender.opens_late):
        return
    try:
        limit = made.sender.prepare().max_event
    except ConfigError:
        return  # reported already
    if limit is not None and wanted > limit:
        problems.add(
            f"{prefix}buffer.max_frame = {wanted}: the sender {made.sender.name!r} carries at most {limit} bytes; "
            "leave it out, and frames have the size that suits the transport"
        )
