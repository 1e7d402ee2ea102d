"""Plans from objects of the original's kinds: what a client's constructor takes, and what a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from metlog.compat.messages import MessageFilter, MessageSender
from metlog.compat.senders import NoSendSender, is_mapped
from metlog.config import Plan
from metlog.errors import ConfigError, Problems
from metlog.plugins import Component, build, check

__all__ = ["Promise", "filter_component", "planned", "planned_lazily", "sender_component"]


def planned(
    *,
    sender: Any,
    logger: str,
    severity: int,
    disabled_timers: Iterable[str],
    filters: Iterable[Callable[[dict[str, Any]], Any]],
) -> Plan:
    """Checks objects of the original's kinds, as its constructor takes them; raises ConfigError with every fault."""
    problems = Problems()
    made = planned_lazily(
        problems,
        sender=lambda: sender_component(sender, "sender"),
        logger=logger,
        severity=severity,
        disabled_timers=disabled_timers,
        filters=[_lazily(item, f"filters[{n}]") for n, item in enumerate(filters)],
    )
    problems.check()
    return made


def _lazily(item: Any, where: str) -> Callable[[], Component]:
    return lambda: filter_component(item, where)


def planned_lazily(
    problems: Problems,
    *,
    sender: Callable[[], tuple[Component, Component, dict[str, Any]]],
    logger: str,
    severity: int,
    disabled_timers: Iterable[str],
    filters: list[Callable[[], Component]],
) -> Plan:
    """A plan, as far as it can be made; faults are noted in `problems`."""
    made = Plan(logger=logger, disabled_timers=frozenset(disabled_timers))
    if not 0 <= severity <= 7:
        problems.add(f"severity = {severity!r}: a severity is 0 (emergency) to 7 (debug)")
    with problems.catch("sender"):
        made.sender, made.encoder, made.buffer = sender()
    for number, item in enumerate(filters):
        with problems.catch(f"filters[{number}]"):
            made.filters.append(item())
    made.prepare(problems)
    if problems.lines:
        made.discard()
    return made


class Promise:
    """A sender of the user's own, made once all else has proved right: it may open something."""

    def __init__(self, name: str, factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.name, self.factory, self.args, self.options = name, factory, args, options

    def make(self) -> Any:
        made = self.factory(*self.args, **self.options)
        if is_mapped(made):
            if made.encoder is not None:
                raise ConfigError("its factory gives a sender with a formatter; name the sender's class itself")
            return build("sender", made.settings, "sender")
        return _taken(made)


def _taken(sender: Any, where: str = "") -> Any:
    """An object as a sender of this package's kind."""
    if callable(getattr(sender, "send_message", None)):
        return MessageSender(sender)
    if not callable(getattr(sender, "send", None)):
        raise ConfigError(
            f"{where}{sender!r}: has neither send_message(msg) nor send(frame), one of which a sender needs"
        )
    return sender


def sender_component(sender: Any, where: str) -> tuple[Component, Component, dict[str, Any]]:
    """Component, encoder and settings of the buffer for a sender of any kind; ConfigError when it is none."""
    json_encoder = check("encoder", "json", "encoder")
    if isinstance(sender, NoSendSender):
        return check("sender", "null", where), json_encoder, {}
    if is_mapped(sender):
        encoder = json_encoder if sender.encoder is None else check("encoder", sender.encoder, "encoder")
        return check("sender", sender.settings, where.removesuffix("_class")), encoder, {}
    if isinstance(sender, Promise):
        return Component("sender", sender.name, where, sender.make), json_encoder, _buffer(sender.factory)
    made = _taken(sender, f"{where} = ")
    return Component("sender", type(sender).__name__, where, lambda: made), json_encoder, _buffer(sender)


def _buffer(sender: Any) -> dict[str, Any]:
    """Settings of the buffer for a sender (or its class) that says whether messages have to be there at once."""
    return {"flush_interval": 0.0} if getattr(sender, "immediate", False) is True else {}


def filter_component(item: Any, where: str) -> Component:
    """A component for a filter function of the original's kind."""
    known = getattr(item, "metlog_filter", None)
    if isinstance(known, Mapping):
        return check("filter", known, where)
    if not callable(item):
        raise ConfigError(f"{where} = {item!r}: wants a callable that takes the message and says whether to keep it")
    return Component("filter", getattr(item, "__name__", "filter"), where, lambda: MessageFilter(item))
