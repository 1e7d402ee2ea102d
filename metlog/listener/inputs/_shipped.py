"""Names that log shippers give to what an event has fields for: service, host, level, time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

__all__ = ["HOSTS", "LEVELS", "SERVICES", "labels_of", "severity_of_level", "take_first", "time_of"]

SERVICES: Final = (
    "service.name",
    "service_name",
    "service",
    "app",
    "application",
    "app_name",
    "job",
    "container_name",
    "container",
)
HOSTS: Final = ("host.name", "hostname", "host", "instance", "node_name", "node")
LEVELS: Final = ("log.level", "level", "severity", "detected_level", "loglevel", "priority")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: Final = {
    "emerg": 0, "emergency": 0, "panic": 0, "alert": 1, "crit": 2, "critical": 2, "fatal": 2, "err": 3, "error": 3, "eror": 3,
    "warn": 4, "warning": 4, "notice": 5, "info": 6, "information": 6, "informational": 6, "debug": 7, "trace": 7, "verbose": 7,
}  # fmt: skip
_LABEL: Final = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_:.]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


def take_first(table: dict[str, Any], names: Sequence[str]) -> str:
    """Removes the first of `names` that is a text in `table`, and returns it; the empty text when there is none. `a.b` is also
    looked for as `b` within `a`."""
    for name in names:
        if isinstance(table.get(name), str):
            return str(table.pop(name))
        outer, dot, inner = name.partition(".")
        nested = table.get(outer) if dot else None
        if isinstance(nested, dict) and isinstance(nested.get(inner), str):
            found = str(nested.pop(inner))
            if not nested:
                del table[outer]
            return found
    return ""


def severity_of_level(level: str, default: int = 6) -> int:
    """Returns the severity of RFC 5424 for a level's name or its number; `default` for one that is not known."""
    text = level.strip().lower()
    if len(text) == 1 and text in "01234567":
        return int(text)
    return _NAMES.get(text, default)


def time_of(value: Any) -> datetime | None:
    """Returns the time of an RFC 3339 text (UTC when it has no offset), or of a number of milliseconds since the epoch."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _EPOCH + timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        pass
    return None


def labels_of(text: str) -> Mapping[str, str]:
    """Returns the labels of a Prometheus label set, `{app="web", env="prod"}`; raises ValueError for what is none."""
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise ValueError('labels: wants {name="value", …}')
    inner, at, found = inner[1:-1].rstrip().removesuffix(","), 0, dict[str, str]()
    while at < len(inner):
        label = _LABEL.match(inner, at)
        if label is None:
            raise ValueError('labels: wants {name="value", …}')
        found[label[1]] = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), label[2])
        at = label.end()
    return found
