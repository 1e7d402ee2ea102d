"""The overview: how much comes in, from whom, what was lost, and whether the listener is well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from metlog.lake.interface import Cancel, Engine
from metlog.lake.sql.loss import LOSS_BY_LOGGER
from metlog.listener.overview import overview
from metlog.reports.report import Report
from metlog.reports.times import moment
from metlog.web.alerts import listed
from metlog.web.histogram import Histogram, histogram, steps
from metlog.web.listeners import listeners
from metlog.web.reports import featured
from metlog.web.state import access_of, page_of
from metlog.web.times import Times, times_of
from metlog.web.waiting import awaited, wanted_since

__all__ = ["Folder", "Overview", "look", "show"]


_TODAY: Final = """
SELECT coalesce(sum(weight), 0) AS events, count(*) AS rows, max(timestamp) AS last_at FROM events WHERE timestamp >= $since
"""
_COUNTS: Final = """
WITH cells AS (  -- the events are read once, and all that is shown is made of these sums
    SELECT {bar} AS bar, logger, type, severity, hostname, count(*) AS rows, sum(weight) AS events, max(timestamp) AS last_at
    FROM events WHERE timestamp >= $since AND timestamp < $until GROUP BY bar, logger, type, severity, hostname
), services AS (
    SELECT logger, sum(events) AS events, sum(CASE WHEN severity <= 3 THEN events ELSE 0 END) AS error, max(last_at) AS last_at,
           count(DISTINCT hostname) AS hosts
    FROM cells GROUP BY logger ORDER BY events DESC, logger LIMIT 100
), types AS (
    SELECT type, sum(events) AS events, max(last_at) AS last_at FROM cells GROUP BY type ORDER BY events DESC, type LIMIT 8
), bars AS (
    SELECT bar, sum(events) AS events, sum(CASE WHEN severity <= 3 THEN events ELSE 0 END) AS error,
           sum(CASE WHEN severity = 4 THEN events ELSE 0 END) AS warning, sum(CASE WHEN severity = 7 THEN events ELSE 0 END) AS debug,
           CAST(sum(rows) AS BIGINT) AS rows, max(last_at) AS last_at
    FROM cells GROUP BY bar
)
SELECT 'bar' AS kind, '' AS name, bar, events, error, warning, debug, rows, last_at, CAST(0 AS BIGINT) AS hosts FROM bars
UNION ALL
SELECT 'service', logger, CAST(0 AS BIGINT), events, error, CAST(0 AS DOUBLE), CAST(0 AS DOUBLE), CAST(0 AS BIGINT), last_at, hosts FROM services
UNION ALL
SELECT 'type', type, CAST(0 AS BIGINT), events, CAST(0 AS DOUBLE), CAST(0 AS DOUBLE), CAST(0 AS DOUBLE), CAST(0 AS BIGINT), last_at,
       CAST(0 AS BIGINT) FROM types
"""
_KEPT: Final = 20_000
"""A span's overview is shown again for the span divided by this, five seconds at least and a minute at most."""


@dataclass(frozen=True)
class Folder:
    """What a data folder takes, in bytes; `full_in_days` at the rate of the last days, None where nothing is known of it."""

    bytes: int
    free: int
    full_in_days: float | None

    @classmethod
    def of(cls, data: Path) -> Folder | None:
        """None when it cannot be read."""
        try:
            found = overview(data)
        except OSError:
            return None
        return cls(found.parquet["bytes"], found.disk["free"], found.disk["full_in_days"])


@dataclass
class Overview:
    """What the overview shows of a span of time; counts are sums of weights."""

    times: Times
    drawn: Histogram
    rows: int
    """Events that arrived; sampled ones stand for several."""
    services: list[dict[str, Any]]
    types: list[dict[str, Any]]
    loss: dict[str, dict[str, Any]]
    ms: float
    today: dict[str, Any]
    """`events`, `rows` and `last_at` since midnight."""
    folder: Folder | None = None
    """The data folder's size, and its disk's; for those who see everything."""
    asked: float = field(default_factory=time.time)
    listeners: list[dict[str, Any]] = field(default_factory=list)

    @property
    def events(self) -> float:
        return self.drawn.events

    @property
    def errors(self) -> float:
        return self.drawn.errors

    @property
    def sent(self) -> int:
        return sum(entry["sent"] for entry in self.loss.values())

    @property
    def lost(self) -> int:
        return sum(entry["lost"] for entry in self.loss.values())

    @property
    def unconfirmed(self) -> int:
        """Streams with an unconfirmed tail."""
        return sum(entry["unconfirmed"] for entry in self.loss.values())


def look(lake: Engine, times: Times, *, loggers: Sequence[str] | None, cancel: Cancel) -> Overview:
    """Asks the lake. Raises QueryError."""
    by = steps(times)
    values: dict[str, Any] = {"since": times.begin, "until": times.end}
    began = time.perf_counter()

    def ask(sql: str, **more: Any) -> list[dict[str, Any]]:
        return lake.query(sql, {**values, **more}, loggers=loggers, cancel=cancel).dicts()

    rows: dict[str, list[dict[str, Any]]] = {"bar": [], "service": [], "type": []}
    for row in ask(_COUNTS.format(bar=by.sql), **by.values):
        rows[row["kind"]].append(row)
    for kind in ("service", "type"):
        rows[kind].sort(key=lambda row: (-row["events"], row["name"]))
    since = moment("today", times.zone, "since")
    today = lake.query(_TODAY, {"since": since}, loggers=loggers, cancel=cancel).dicts()[0]
    return Overview(
        times, histogram(rows["bar"], by, times), sum(row["rows"] for row in rows["bar"]), rows["service"], rows["type"],
        {row["logger"]: row for row in ask(LOSS_BY_LOGGER)}, (time.perf_counter() - began) * 1000,
        today,
    )  # fmt: skip


async def show(request: Request) -> Response:
    """`/`."""
    page, access = page_of(request), access_of(request)
    times = times_of(request)

    def work(cancel: Cancel) -> Overview:
        made = look(page.lake, times, loggers=access.loggers, cancel=cancel)
        if access.everything and page.settings.data is not None:  # the listener's counters are everybody's
            made.listeners = listeners(page.settings.data)
            made.folder = Folder.of(page.settings.data)
        return made

    key = (str(page.settings.data), times.since, times.until, times.tz, access.loggers)
    found, age = page.caches.overviews.get(key), 0.0
    if found is not None:
        age = time.time() - found.asked
    if found is None or page.lake.slow or found.asked < wanted_since(request):
        outcome = await awaited(request, ("overview", key), "Overview", work)
        found, age = page.caches.overviews.put(key, outcome.value, _kept(times)), outcome.age
    values = {
        "here": "overview",
        "found": found,
        "age": age,
        "now": time.time(),
        "engine": page.lake.name,
        "firing": [alert for alert in await listed(request) if alert.alarm and not alert.late],
        "featured": [(report, _query(report, times)) for report in await featured(request)],
        "settings": page.settings,
    }
    return page.views.render(request, "overview.html", values)


def _kept(times: Times) -> float:
    """Seconds for which it is shown again: the longer the span, the less of it is new; half of the time between two looks at most."""
    seconds = min(60.0, times.seconds_long / _KEPT)
    return max(5.0, min(seconds, times.seconds / 2) if times.seconds else seconds)


def _query(report: Report, times: Times) -> str:
    """The parameters by which a report shows the overview's span."""
    pairs = [("since", times.since), ("until", times.until), ("tz", times.tz)]
    pairs += [(key, "auto") for key, parameter in report.parameters.items() if parameter.type == "bucket"]
    return urlencode(pairs)
