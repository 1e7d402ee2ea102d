"""What was logged, and the questions that tests ask about it."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Final, TypedDict, Unpack, overload

import msgspec

from metlog.encoders.json import JsonEncoder
from metlog.encoders.text import TextEncoder
from metlog.errors import SenderError
from metlog.event import OWN_TYPES, Event

__all__ = ["Conditions", "LoggedEvents"]

_JSON: Final = JsonEncoder()
_SHOWN: Final = 50  # events that a message lists


class Conditions(TypedDict, total=False):
    """What an event must be; each one is optional."""

    logger: str
    severity: int | Container[int]
    """One severity, or several: `range(4)` is error and worse."""
    payload: str | re.Pattern[str]
    """The whole payload, or a pattern to be found in it."""
    tokens: Sequence[str]
    weight: float
    fields: Mapping[str, Any]
    """Fields that must be there and equal, others may be; `pytest.approx` and `unittest.mock.ANY` work."""


class LoggedEvents(Sequence[Event]):
    """The events that were logged, in order; made by `metlog.testing.capture` and by the fixture `metlog_events`.

    Each is as a receiver decodes it: a tuple is a list by then, a date is text, what JSON cannot say is repaired.

    >>> from metlog.testing import capture
    >>> import metlog
    >>> with capture() as events:
    ...     metlog.log(("login", "sync"), "user logged in", fields={"user": "u1"})
    ...     metlog.incr("orders", 2)
    >>> events.types
    ['login', 'counter']
    >>> events.one("login", fields={"user": "u1"}).payload
    'user logged in'
    >>> events.counter("orders")
    2
    >>> events.none(severity=range(5))
    >>> events.mentions("hunter2")
    []
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._owner = os.getpid()
        # Forked children write here; every read is at a position of its own, so that a child may look as well.
        self._children: Any = tempfile.TemporaryFile("a+b", buffering=0)  # noqa: SIM115 - until `end`
        self._position = 0
        self._reading = threading.Lock()

    # ---- the sequence ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._look())

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._look()[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._look())

    def __repr__(self) -> str:
        return f"<LoggedEvents: {', '.join(self.types) or 'none'}>"

    def __str__(self) -> str:
        """A line an event, for people."""
        return _lines(self._look()) or "nothing was logged"

    # ---- questions ---------------------------------------------------------------------------------------------------

    @property
    def types(self) -> list[str]:
        """The type of each event."""
        return [event.type for event in self._look()]

    def matching(self, type: str | None = None, /, **conditions: Unpack[Conditions]) -> list[Event]:
        """The events of a type that are as the conditions say (see `Conditions`)."""
        return [event for event in self._look() if _matches(event, type, conditions)]

    def one(self, type: str | None = None, /, **conditions: Unpack[Conditions]) -> Event:
        """The one event that matches; AssertionError when there is none, or another."""
        __tracebackhide__ = True
        found = self.matching(type, **conditions)
        if len(found) != 1:
            raise AssertionError(self._told(f"wants one event{_described(type, conditions)}, found {len(found)}"))
        return found[0]

    def none(self, type: str | None = None, /, **conditions: Unpack[Conditions]) -> None:
        """AssertionError when an event matches."""
        __tracebackhide__ = True
        found = self.matching(type, **conditions)
        if found:
            raise AssertionError(self._told(f"wants no event{_described(type, conditions)}, found {len(found)}"))

    def wait_for(
        self, type: str | None = None, /, *, count: int = 1, timeout: float = 5.0, **conditions: Unpack[Conditions]
    ) -> list[Event]:
        """The events that match, as soon as there are `count`: for threads, tasks and forked children that log.

        AssertionError when there are not as many within `timeout` seconds.
        """
        __tracebackhide__ = True
        end = monotonic() + timeout
        while len(found := self.matching(type, **conditions)) < count:
            if monotonic() >= end:
                wanted = f"wants {count} event(s){_described(type, conditions)} within {timeout:g} s"
                raise AssertionError(self._told(f"{wanted}, found {len(found)}"))
            sleep(0.005)
        return found

    def counter(self, name: str) -> float:
        """What `incr(name)` was called with, added up. Every call is there: nothing is sampled while events are captured."""
        counts: list[float] = [event.fields["count"] for event in self.matching("counter", fields={"name": name})]
        return sum(counts)

    def timers(self, name: str) -> list[float]:
        """The milliseconds of each `timer(name)` and `timer_send(name, ms)`."""
        return [event.fields["ms"] for event in self.matching("timer", fields={"name": name})]

    def mentions(self, text: str) -> list[Event]:
        """The events that hold this text anywhere, in a name or a value: what must stay private should be in none."""
        return [event for event in self._look() if any(text in part for part in _texts(msgspec.to_builtins(event)))]

    def clear(self) -> None:
        """Forgets what was logged so far."""
        self._look()
        self._events.clear()

    # ---- how events come in ------------------------------------------------------------------------------------------

    def take(self, frame: bytes) -> None:
        """Takes a frame of JSON, in the process that looks at the events or in a child of it."""
        if os.getpid() == self._owner:
            self._events.extend(_decoded(frame))
        elif os.write(self._children.fileno(), frame) != len(frame):  # one write: those of several children stay apart
            raise SenderError("no room for what a forked child logs", reason="disk_full")

    def after_fork(self) -> None:
        """In a child: the lock may be held by a thread that is not here."""
        self._reading = threading.Lock()

    def end(self) -> None:
        """Nothing comes any more."""
        self._look()
        self._children.close()

    def _look(self) -> list[Event]:
        with self._reading:
            if not self._children.closed:
                found = os.pread(self._children.fileno(), 1 << 30, self._position)
                whole = found[: found.rfind(b"\n") + 1]
                self._position += len(whole)
                self._events.extend(_decoded(whole))
            return list(self._events)

    def _told(self, what: str) -> str:
        events = self._look()
        before = f"… {len(events) - _SHOWN} before\n" if len(events) > _SHOWN else ""
        return f"{what}; logged:\n{before}{_lines(events[-_SHOWN:]) or 'nothing'}"


def _decoded(frame: bytes) -> list[Event]:
    return [event for event in _JSON.decode(frame) if event.type not in OWN_TYPES] if frame else []


def _lines(events: Sequence[Event]) -> str:
    encoder = TextEncoder(color="never")
    return encoder.frame([encoder.encode(event) for event in events]).decode().rstrip("\n")


def _described(type: str | None, conditions: Conditions) -> str:
    named = [f"{name} = {value!r}" for name, value in conditions.items()]
    return (f" of type {type!r}" if type is not None else "") + (f" with {', '.join(named)}" if named else "")


def _matches(event: Event, type: str | None, conditions: Conditions) -> bool:
    for name in conditions:
        if name not in Conditions.__annotations__:
            raise TypeError(f"{name}: no such condition; a field is asked for with fields={{{name!r}: …}}")
    if type is not None and event.type != type:
        return False
    severity = conditions.get("severity")
    if severity is not None and event.severity not in ((severity,) if isinstance(severity, int) else severity):
        return False
    payload = conditions.get("payload")
    if isinstance(payload, re.Pattern):
        if not payload.search(event.payload):
            return False
    elif payload is not None and payload != event.payload:
        return False
    if "tokens" in conditions and tuple(conditions["tokens"]) != event.tokens:
        return False
    if conditions.get("logger", event.logger) != event.logger or conditions.get("weight", event.weight) != event.weight:
        return False
    return all(
        name in event.fields and _same(wanted, event.fields[name])
        for name, wanted in conditions.get("fields", {}).items()
    )


def _same(wanted: Any, found: Any) -> bool:
    """Whether a field is what a test wants, as it was given to `log` or as a receiver has it."""
    if wanted == found:
        return True
    (said,) = _JSON.decode(_JSON.frame([_JSON.encode(Event(type="", fields={"value": wanted}))]))
    return bool(said.fields["value"] == found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, Iterable):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)
