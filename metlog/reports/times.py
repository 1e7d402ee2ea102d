"""Times as people say them: `30d`, `yesterday`, `2026-03-01 06:00`, in a time zone of their choice."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from metlog.errors import ConfigError

__all__ = ["moment", "zone"]

_AGO: Final = re.compile(r"-?\s*(\d{1,6})\s*([smhdw])")
_DAYS: Final = {"today": 0, "yesterday": 1, "tomorrow": -1}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_FIRST, _LAST = 1900, 2200
"""Years. Beyond them a step or a zone's offset away there may be no time that Python has."""


def zone(name: str, where: str = "tz") -> ZoneInfo:
    """The time zone of a name such as `Europe/Berlin`; raises ConfigError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"{where} = {name!r}: no such time zone; a name is Area/City, such as Europe/Berlin"
        ) from error


def moment(text: str, tz: ZoneInfo, where: str, now: datetime | None = None) -> datetime:
    """The time that a text means, in UTC.

    - `now`; `today`, `yesterday`, `tomorrow`: when that day begins in `tz`
    - `90s`, `15m`, `24h`: so long before now, to the second
    - `30d`, `2w`: the beginning of the day so many days or weeks before today
    - `2026-03-01`, `2026-03-01T06:30`, with or without an offset; without one it is in `tz`

    Raises ConfigError, also for a time outside the years 1900 to 2200.
    """
    now = (now or datetime.now(UTC)).astimezone(UTC)
    said = text.strip().lower()
    if said == "now":
        return now
    try:
        found = _read(said, text.strip(), tz, now)
    except ValueError as error:
        raise ConfigError(
            f"{where} = {text!r}: wants a time: now, today, yesterday, 15m, 24h, 30d, 2w, 2026-03-01 or 2026-03-01T06:30"
        ) from error
    except OverflowError:
        found = None
    if found is None or not _FIRST <= found.year <= _LAST:
        raise ConfigError(f"{where} = {text!r}: wants a time of the years {_FIRST} to {_LAST}")
    return found


def _read(said: str, text: str, tz: ZoneInfo, now: datetime) -> datetime:
    """Raises ValueError for what is no time, OverflowError for one that is too far away."""
    if said in _DAYS:
        return _midnight(now, tz, _DAYS[said])
    if ago := _AGO.fullmatch(said):
        number, unit = int(ago[1]), ago[2]
        if unit in _SECONDS:
            return now - timedelta(seconds=number * _SECONDS[unit])
        return _midnight(now, tz, number * (7 if unit == "w" else 1))
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=tz)).astimezone(UTC)


def _midnight(now: datetime, tz: ZoneInfo, days_ago: int) -> datetime:
    day = now.astimezone(tz).date() - timedelta(days=days_ago)
    return datetime.combine(day, time(), tz).astimezone(UTC)
