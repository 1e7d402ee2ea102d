"""Lines of the statsd protocol, with DogStatsD's tags, as events.

    name:value|type[|@rate][:value|type…][|#tag:value,tag…][|Tseconds]          type: c ms g s, and h d of DogStatsD

https://github.com/statsd/statsd/blob/master/docs/metric_types.md and DataDog's "Datagram format", versions 1.0 to 1.3.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from metlog.event import ONE, Event

__all__ = ["BadLine", "parse"]

_KINDS: Final = {
    "c": ("counter", "count"),
    "ms": ("timer", "ms"),
    "g": ("gauge", "value"),
    "s": ("set", "value"),
    "h": ("histogram", "value"),
    "d": ("distribution", "value"),
}
"""Type letter to event type, and the key of the number among the fields."""

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_SECONDS: Final = re.compile(r"\d{1,11}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAME: Final = 512
"""Characters of a name."""
_PACKED: Final = 1 << 20
"""Bytes of names and tags that the packed values of a line may make: each of their events has them."""


class BadLine(ValueError):
    """Not a line of the protocol."""


def parse(line: bytes, logger: str) -> tuple[list[Event], str]:
    """The events of one line, and what is wrong with the rest of it ("": nothing).

    As statsd itself (0.9, stats.js) takes it: several values with their types on one line (`a:1|c:2|ms|@0.5`), of which a bad one
    costs no other; blanks around numbers and types; types in capitals; unknown and empty sections passed over. And as DogStatsD packs
    values (`name:1:2:3|ms`). Raises `BadLine` when nothing of it is a metric.
    """
    try:
        text = line.rstrip(b"\0 \t").decode()
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None
    if text.startswith(("_e{", "_sc|")):
        raise BadLine("not a metric: DogStatsD's events and service checks are not taken")
    name, colon, rest = text.partition(":")
    name = name.strip().replace("\t", " ")
    if not colon or "|" not in rest:
        raise BadLine("not statsd: a line is name:value|type")
    if not name or len(name) > _NAME or _CONTROL.search(name):
        raise BadLine("bad name: wants 1 to 512 characters, no control characters")
    found = _split(rest)
    tags = found.tags
    shared = len(line) - sum(len(metric.values) for metric in found.metrics)
    number = sum(metric.values.count(":") + 1 for metric in found.metrics)
    if number > 1 and number * shared > _PACKED:
        raise BadLine(f"too many values: {number}, each with {shared} bytes of name and tags")
    events: list[Event] = []
    wrong = ""
    for metric in found.metrics:
        packed = [metric.values] if metric.letter.strip().lower() == "s" else metric.values.split(":")
        for value in packed:
            try:
                events.append(_event(name, value, metric, tags, found.time, logger))
            except BadLine as error:
                wrong = wrong or str(error)
    if not events:
        raise BadLine(wrong)
    return events, wrong


class _Metric(NamedTuple):
    """One value, or several that are packed, with its type and rate as they were written."""

    values: str
    letter: str
    rate: str | None


class _Parts(NamedTuple):
    metrics: list[_Metric]
    tags: dict[str, str | list[str]]
    time: datetime | None


def _split(rest: str) -> _Parts:
    """What stands behind `name:`. Tags and time are those of the whole line."""
    metrics: list[_Metric] = []
    tags: dict[str, str | list[str]] = {}
    time = None
    values, *sections = rest.split("|")
    letter: str | None = None
    rate: str | None = None
    for section in sections:
        if letter is None:  # the place of the type; behind it the next value may stand
            letter, colon, more = section.partition(":")
            if colon:
                metrics.append(_Metric(values, letter, None))
                values, letter = more, None
            continue
        match section[:1]:
            case "@":
                rate, colon, more = section[1:].partition(":")
                if colon:
                    metrics.append(_Metric(values, letter, rate))
                    values, letter, rate = more, None, None
            case "#":
                _add_tags(tags, section[1:])
            case "T":
                time = _time(section[1:]) or time
            case _:
                pass  # DogStatsD's `c:` (container), `e:` (external data), `card:`; what is still to be invented; none
    metrics.append(_Metric(values, letter or "", rate))
    return _Parts(metrics, tags, time)


def _add_tags(tags: dict[str, str | list[str]], text: str) -> None:
    """A name that is there twice has a list of its values."""
    for tag in text.split(","):
        if not tag:
            continue
        label, _, value = tag.partition(":")
        before = tags.get(label)
        if before is None:
            tags[label] = value
        elif isinstance(before, list):
            if value not in before:
                before.append(value)
        elif before != value:
            tags[label] = [before, value]


def _time(text: str) -> datetime | None:
    """DogStatsD's time of a metric, in whole seconds since 1970; one that is none is passed over."""
    return datetime.fromtimestamp(int(text), UTC) if _SECONDS.fullmatch(text) else None


def _event(
    name: str, value: str, metric: _Metric, tags: dict[str, str | list[str]], time: datetime | None, logger: str
) -> Event:
    letter = metric.letter.strip().lower()
    if letter not in _KINDS:
        raise BadLine(f"unknown type: {metric.letter[:20]!r} is none of {', '.join(_KINDS)}")
    kind, key = _KINDS[letter]
    weight = _weight(metric.rate)
    given = value if letter == "s" else value.strip()
    fields: dict[str, Any] = {"name": name}
    if letter == "g" and given[:1] in {"+", "-"}:
        fields["delta"] = _number(given)  # a gauge with a sign moves by so much
    else:
        fields[key] = given if letter == "s" else _number(given)
    if letter == "ms" and fields[key] < 0:
        raise BadLine(f"bad number: {given[:40]!r} is less than no time")
    if tags:
        fields["tags"] = tags
    event = Event(
        type=kind, tokens=(kind, name), logger=logger, payload=given.lstrip("+"), fields=fields, weight=weight
    )
    if time is not None:
        event.timestamp = time
    return event


def _weight(rate: str | None) -> float:
    if rate is None:
        return ONE
    number = _number(rate.strip())
    if not number > 0:
        raise BadLine(f"bad sample rate: {rate[:20]!r} is not above 0")
    weight = ONE if number == 1 else 1 / number
    if not 1e-12 < weight < 1e12:
        raise BadLine(f"bad sample rate: {rate[:20]!r} stands for too many events, or too few")
    return weight


def _number(text: str) -> float:
    """An int where it is written as one."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        raise BadLine(f"bad number: {text[:40]!r}")
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise BadLine(f"bad number: {text[:40]!r} is out of range")
    return number
