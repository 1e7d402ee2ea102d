"""Times as people write them in a form or a URL."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["parse"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO: Final = re.compile(r"(\d{1,6})\s*([smhdw])")


def parse(text: str, where: str, now: datetime | None = None) -> datetime | None:
    """`90m`, `24h`, `7d` before now, `now`, or a date or time in ISO 8601 (UTC unless it says otherwise); empty is None.

    Raises ValueError that names the key, the value and what would have been right.
    """
    text = text.strip()
    if not text:
        return None
    now = now or datetime.now(UTC)
    if text.lower() == "now":
        return now
    try:
        if match := _AGO.fullmatch(text.lower()):
            return now - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{where} = {text!r}: wants a span before now, such as 90m, 24h or 7d, or a time such as 2026-01-31T12:00 (UTC)"
        ) from None
