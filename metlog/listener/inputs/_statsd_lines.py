"""Lines of the statsd protocol, with DogStatsD's tags, as events.

    name:value|type[|@rate][|#tag:value,tag…]          type: c ms g s, and h d of DogStatsD

https://github.com/statsd/statsd/blob/master/docs/metric_types.md and DataDog's "Datagram format", versions 1.0 to 1.3.
"""

from __future__ import annotations

import re
from typing import Any, Final

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
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAME: Final = 512
"""Characters of a name."""
_PACKED: Final = 1 << 20
"""Bytes of names and tags that the packed values of a line may make: each of their events has them."""


class BadLine(ValueError):
    """Not a line of the protocol."""


def parse(line: bytes, logger: str) -> list[Event]:
    """The events of one line: one, or several where DogStatsD packs values (`name:1:2:3|ms`). Raises `BadLine`."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise BadLine("not UTF-8") from None
    if text.startswith(("_e{", "_sc|")):
        raise BadLine("not a metric: DogStatsD's events and service checks are not taken")
    name, colon, rest = text.partition(":")
    values, bar, rest = rest.partition("|")
    letter, *sections = rest.split("|")
    if not colon or not bar:
        raise BadLine("not statsd: a line is name:value|type")
    if not name or len(name) > _NAME or _CONTROL.search(name):
        raise BadLine("bad name: wants 1 to 512 characters, no control characters")
    if letter not in _KINDS:
        raise BadLine(f"unknown type: {letter[:20]!r} is none of {', '.join(_KINDS)}")
    kind, key = _KINDS[letter]
    weight, tags = _sections(sections)
    packed = [values] if letter == "s" else values.split(":")
    if len(packed) > 1 and len(packed) * (len(line) - len(values)) > _PACKED:
        raise BadLine(f"too many values: {len(packed)}, each with {len(line) - len(values)} bytes of name and tags")
    events = []
    for value in packed:
        fields: dict[str, Any] = {"name": name}
        if letter == "g" and value[:1] in {"+", "-"}:
            fields["delta"] = _number(value)  # a gauge with a sign moves by so much
        else:
            fields[key] = value if letter == "s" else _number(value)
        if tags:
            fields["tags"] = tags
        payload = value.lstrip("+")
        events.append(
            Event(type=kind, tokens=(kind, name), logger=logger, payload=payload, fields=fields, weight=weight)
        )
    return events


def _sections(sections: list[str]) -> tuple[float, dict[str, str]]:
    """Weight and tags; DogStatsD's `c:` (container), `e:` (external data) and `T` (time) are passed over."""
    weight = ONE
    tags: dict[str, str] = {}
    for section in sections:
        match section[:1]:
            case "@":
                rate = _number(section[1:])
                if not 0 < rate <= 1:
                    raise BadLine(f"bad sample rate: {section[:20]!r} is not above 0 and at most 1")
                weight = ONE if rate == 1 else 1 / rate
                if weight > 1e12:
                    raise BadLine(f"bad sample rate: {section[:20]!r} stands for more than 1e12 events")
            case "#":
                for tag in section[1:].split(","):
                    if tag:
                        label, _, value = tag.partition(":")
                        tags[label] = value
            case _ if section.startswith(("c:", "e:", "T", "card:")):
                pass
            case _:
                raise BadLine(f"unknown section: {section[:20]!r}")
    return weight, tags


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
