"""The overview: how much comes in, from whom, what was lost, and whether the listener is well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from metlog.lake.interface import Cancel, Engine
from metlog.lake.sql.loss import LOSS_BY_LOGGER
from metlog.listener.overview import overview
from metlog.reports.report import Report
from metlog.web.alerts import listed
from metlog.web.histogram import BAR, COUNTED, Histogram, histogram, steps
from metlog.web.listeners import listeners
from metlog.web.reports import featured
from metlog.web.state import access_of, page_of
from metlog.web.times import Times, times_of
from metlog.web.waiting import asked

__all__ = ["Folder", "Overview", "look", "show"]


_RATES: Final = (
    f"SELECT {BAR} AS bar, {COUNTED}, count(*) AS rows "  # noqa: S608 - constants
    "FROM events WHERE timestamp >= $since AND timestamp < $until GROUP BY bar"
)
_TODAY: Final = """
SELECT coalesce(sum(weight), 0) AS events, count(*) AS rows, max(timestamp) AS last_at FROM events WHERE timestamp >= $since
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

    counts = ask(_RATES, **by.values)
    midnight = datetime.now(times.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    today = lake.query(_TODAY, {"since": midnight.astimezone(UTC)}, loggers=loggers, cancel=cancel).dicts()[0]
    return Overview(
        times, histogram(counts, by, times), sum(row["rows"] for row in counts), ask(_SERVICES), ask(_TYPES),
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
    if found is None or page.lake.slow:
        outcome = await asked(request, ("overview", key), "Overview", work)
        found, age = page.caches.overviews.put(key, outcome.value), outcome.age
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


def _query(report: Report, times: Times) -> str:
    """The parameters by which a report shows the overview's span."""
    pairs = [("since", times.since), ("until", times.until), ("tz", times.tz)]
    pairs += [(key, "auto") for key, parameter in report.parameters.items() if parameter.type == "bucket"]
    return urlencode(pairs)
