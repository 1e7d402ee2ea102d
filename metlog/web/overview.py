"""The overview: how much comes in, from whom, what was lost, and whether the listener is well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metlog.journal.folder import Folder
from metlog.lake.interface import Cancel, Engine
from metlog.web.alerts import listed
from metlog.web.errors import Refused
from metlog.web.forms import query_of
from metlog.web.reports import featured
from metlog.web.state import access_of, page_of
from metlog.web.waiting import asked

__all__ = ["Bar", "Overview", "bars", "listeners", "look", "show"]

_SPANS: Final = {"1h": (3600, 60), "24h": (86400, 1800), "7d": (604800, 10800), "30d": (2592000, 86400)}
"""Length and width of a bar, in seconds."""
_STALE: Final = 15.0
"""Seconds after which a listener that has not written its status counts as gone; it writes twice a second."""

_RATES: Final = """
SELECT CAST(floor(epoch(timestamp) / $width) AS BIGINT) AS bar, sum(weight) AS events, coalesce(sum(weight) FILTER (severity <= 3), 0) AS errors
FROM events WHERE timestamp >= $since AND timestamp < $until GROUP BY bar
"""
_SERVICES: Final = """
SELECT logger, sum(weight) AS events, coalesce(sum(weight) FILTER (severity <= 3), 0) AS errors, max(timestamp) AS last_at,
       count(DISTINCT hostname) AS hosts
FROM events WHERE timestamp >= $since AND timestamp < $until GROUP BY logger ORDER BY events DESC, logger LIMIT 100
"""
_TYPES: Final = """
SELECT type, sum(weight) AS events FROM events WHERE timestamp >= $since AND timestamp < $until
GROUP BY type ORDER BY events DESC, type LIMIT 8
"""
# Between the first and the last that came within the span: what a stream sent before it is not lost.
_LOSS: Final = """
WITH spans AS (
    SELECT stream, any_value(logger) AS logger, CAST(max(seq) AS HUGEINT) - min(seq) + 1 AS sent, count(*) AS rows
    FROM events WHERE timestamp >= $since AND timestamp < $until AND seq > 0 AND stream <> '' GROUP BY stream
), numbers AS (  -- a bit a number, as in the view `delivery`
    SELECT stream, CAST(sum(got) AS BIGINT) AS got
    FROM (SELECT stream, bit_count(bit_or(CAST(1 AS UBIGINT) << CAST(seq & 63 AS UBIGINT))) AS got
          FROM events WHERE timestamp >= $since AND timestamp < $until AND seq > 0 AND stream <> '' GROUP BY stream, seq >> 6)
    GROUP BY stream
)
SELECT logger, CAST(least(sum(sent), 9223372036854775807) AS BIGINT) AS sent, CAST(least(sum(sent - got), 9223372036854775807) AS BIGINT) AS lost,
       CAST(least(sum(rows - got), 9223372036854775807) AS BIGINT) AS repeated
FROM spans JOIN numbers USING (stream) GROUP BY logger
"""


@dataclass
class Bar:
    """One bar of the picture; heights in percent of the tallest."""

    begin: datetime
    events: float
    errors: float
    height: float = 0.0
    error_height: float = 0.0


@dataclass
class Overview:
    """What the overview shows of a span of time; counts are sums of weights."""

    span: str
    since: datetime
    until: datetime
    bars: list[Bar]
    services: list[dict[str, Any]]
    types: list[dict[str, Any]]
    loss: dict[str, dict[str, Any]]
    ms: float
    listeners: list[dict[str, Any]] = field(default_factory=list)

    @property
    def events(self) -> float:
        return sum(bar.events for bar in self.bars)

    @property
    def errors(self) -> float:
        return sum(bar.errors for bar in self.bars)

    @property
    def tallest(self) -> float:
        return max((bar.events for bar in self.bars), default=0.0)

    @property
    def per_second(self) -> float:
        return self.events / (self.until - self.since).total_seconds()

    @property
    def sent(self) -> int:
        return sum(entry["sent"] for entry in self.loss.values())

    @property
    def lost(self) -> int:
        return sum(entry["lost"] for entry in self.loss.values())


def look(
    lake: Engine, span: str, *, loggers: Sequence[str] | None, cancel: Cancel, now: datetime | None = None
) -> Overview:
    """Asks the lake. Raises QueryError."""
    length, width = _SPANS[span]
    until = now or datetime.now(UTC)
    last = int(until.timestamp()) // width
    first = last - length // width + 1
    since = datetime.fromtimestamp(first * width, UTC)
    values: dict[str, Any] = {"since": since, "until": until}
    began = time.perf_counter()

    def ask(sql: str, **more: Any) -> list[dict[str, Any]]:
        return lake.query(sql, {**values, **more}, loggers=loggers, cancel=cancel).dicts()

    counts = {row["bar"]: row for row in ask(_RATES, width=width)}
    return Overview(
        span, since, until, bars(counts, first, last, width), ask(_SERVICES), ask(_TYPES),
        {row["logger"]: row for row in ask(_LOSS)}, (time.perf_counter() - began) * 1000,
    )  # fmt: skip


def bars(counts: dict[int, dict[str, Any]], first: int, last: int, width: int) -> list[Bar]:
    """A bar for each step of the span, also where nothing came."""
    found = []
    for number in range(first, last + 1):
        row = counts.get(number, {"events": 0.0, "errors": 0.0})
        found.append(Bar(datetime.fromtimestamp(number * width, UTC), row["events"], row["errors"]))
    tallest = max(bar.events for bar in found)
    for bar in found:
        if tallest > 0:
            # Minimum height, so that small values stay visible.
            bar.height = max(100 * bar.events / tallest, 1.0) if bar.events else 0.0
            bar.error_height = max(100 * bar.errors / tallest, 1.0) if bar.errors else 0.0
    return found


def listeners(data: Path, now: float | None = None) -> list[dict[str, Any]]:
    """What the listeners of this data folder last said of themselves, with `age` in seconds and `state`:
    `running`, `stopped` or `gone` (it has not said anything for a while)."""
    found: list[dict[str, Any]] = []
    with Folder.root(data) as root:
        for entry in sorted(root.regular(".json"), key=lambda entry: entry.name):
            if entry.name != "status.json" and not entry.name.startswith("status-"):
                continue
            try:
                status = msgspec.json.decode(root.read(entry.name))
                age = max(0.0, (now or time.time()) - datetime.fromisoformat(status["time"]).timestamp())
            except (OSError, ValueError, KeyError, TypeError) as error:
                found.append({"name": entry.name, "state": "unreadable", "problem": str(error)})
                continue
            running = bool(status.get("running", True))
            state = "stopped" if not running else "gone" if age > _STALE else "running"
            found.append({**status, "name": entry.name, "age": age, "state": state})
    return found


async def show(request: Request) -> Response:
    """`/`."""
    page, access = page_of(request), access_of(request)
    span = query_of(request).get("span", "24h")
    if span not in _SPANS:
        raise Refused(400, f"span = {span!r}: wants {', '.join(_SPANS)}")

    def work(cancel: Cancel) -> Overview:
        made = look(page.lake, span, loggers=access.loggers, cancel=cancel)
        if access.everything and page.settings.data is not None:  # the listener's counters are everybody's
            made.listeners = listeners(page.settings.data)
        return made

    key = (str(page.settings.data), span, access.loggers)
    found, age = page.caches.overviews.get(key), 0.0
    if found is None or page.lake.slow:
        outcome = await asked(request, ("overview", key), "Overview", work)
        found, age = page.caches.overviews.put(key, outcome.value), outcome.age
    values = {
        "here": "overview",
        "found": found,
        "age": age,
        "now": time.time(),
        "engine": page.lake.name,
        "firing": [alert for alert in await listed(request) if alert.alarm],
        "spans": list(_SPANS),
        "featured": await featured(request),
        "settings": page.settings,
    }
    return page.views.render(request, "overview.html", values)
