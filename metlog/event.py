"""The record that travels: `Event`, and the severities of RFC 5424."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

ENV_VERSION: Final = "1"
"""Version of the envelope that this release writes."""

MAX_WEIGHT: Final = 1e15
"""The largest weight that an event may have: sums of any number of such are finite."""

ONE: Final = 1.0
"""The weight of an event that stands for itself; this very object, since `omit_defaults` goes by identity."""

END_TYPE: Final = "metlog.end"
"""Type of the event that closes a stream: `fields` has `last_seq` (int) and `dropped` (counts by reason)."""

REPORT_TYPE: Final = "metlog.report"
"""Type of the event that follows a drop: `fields` has `dropped` (counts by reason since the stream began)."""

OWN_TYPES: Final = frozenset({END_TYPE, REPORT_TYPE})
"""Types of the events that metlog adds to a stream by itself."""


class Severity(IntEnum):
    """Severities of RFC 5424, section 6.2.1; smaller is more urgent."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFORMATIONAL = 6
    DEBUG = 7


_SEVERITIES: Final = {
    **{severity.name.lower(): severity.value for severity in Severity},
    "emerg": 0, "panic": 0, "crit": 2, "fatal": 2, "err": 3, "warn": 4, "info": 6, "trace": 7,
}  # fmt: skip


def severity_from(value: object) -> int | None:
    """The number that is meant by a number, its digits, or the name of a severity (RFC 5424's, syslog's and stdlib logging's).

    It may be out of range; None for what is neither.
    """
    try:
        if issubclass(type(value), str):
            name = str(value).strip().lower()
            return _SEVERITIES[name] if name in _SEVERITIES else int(name)
        return int(value)  # type: ignore[call-overload, no-any-return]
    except Exception:  # noqa: BLE001 - `__int__` is code of the application
        return None


def _no_type() -> str:
    raise ValueError("an event needs a `type`")


class Event(Struct, gc=False, omit_defaults=True):
    """One structured event.

    Only `type` is demanded of a sender; everything else has a default, so that a line written by hand is an event.
    Every field but `weight` is always written: their defaults are factories, which `omit_defaults` leaves alone.

    Filters get this object and return it, a changed copy (`msgspec.structs.replace`) or None.
    """

    timestamp: Annotated[datetime, Meta(tz=True)] = field(default_factory=lambda: datetime.now(UTC))
    """When it happened, UTC; RFC 3339 with `Z` in JSON, extension type -1 in MessagePack. One without an offset is refused."""
    type: str = field(default_factory=_no_type)
    """What kind of event; for `log(tokens, …)` the first token."""
    tokens: tuple[str, ...] = field(default_factory=lambda: ())
    """Classify the event."""
    logger: str = field(default_factory=lambda: "")
    """Which service it comes from."""
    severity: Annotated[int, Meta(ge=0, le=7)] = field(default_factory=lambda: 6)
    """0 (emergency) to 7 (debug), RFC 5424."""
    payload: str = field(default_factory=lambda: "")
    """The main data."""
    fields: dict[str, Any] = field(default_factory=lambda: {})
    """Any other values, as JSON has them."""
    weight: Annotated[float, Meta(gt=0, le=MAX_WEIGHT)] = ONE
    """How many events this one stands for, up to 1e15: 1 / rate when sampled. Left out on the wire when 1."""
    env_version: str = field(default_factory=lambda: ENV_VERSION)
    """Version of the envelope."""
    pid: Annotated[int, Meta(ge=0, le=2**63 - 1)] = field(default_factory=lambda: 0)
    """Process that it comes from."""
    hostname: str = field(default_factory=lambda: "")
    """Machine that it comes from."""
    stream: str = field(default_factory=lambda: "")
    """Random id of the sending client."""
    seq: Annotated[int, Meta(ge=0, le=2**63 - 1)] = field(default_factory=lambda: 0)
    """Rises by one an event within a stream, from 1: gaps are losses, repeats are duplicates; 0 = not counted."""
