"""The overview: how much comes in, from whom, what was lost, and whether the listener is well."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from metlog.journal.folder import Folder
from metlog.lake.interface import Cancel, Engine
from metlog.lake.sql.loss import LOSS_BY_LOGGER
from metlog.reports.report import Report
from metlog.web.histogram import BAR, COUNTED, Histogram, histogram, steps
from metlog.web.reports import featured
from metlog.web.state import access_of, page_of
from metlog.web.times import Times, times_of
from metlog.web.waiting import asked

__all__ = ["Overview", "listeners", "look", "show"]

_STALE: Final = 15.0
"""Seconds after which a listener that has not written its status counts as gone; it writes twice a second."""

_RATES: Final = (
    f"SELECT {BAR} AS bar, {COUNTED}, count(*) AS rows "  # noqa: S608 - constants
    "FROM events WHERE timestamp >= $since AND timestamp < $until GROUP BY bar"
)
_SERVICES: Final = """
SELECT logger, sum(weight) AS events, coalesce(sum(weight) FILTER (severity <= 3), 0) AS errors, max(timestamp) AS last_at,
       count(DISTINCT hostname) AS hosts
FROM events WHERE timestamp >= $since AND timestamp < $until GROUP BY logger ORDER BY events DESC, logger LIMIT 100
"""
_TYPES: Final = """
SELECT type, sum(weight) AS events FROM events WHERE timestamp >= $since AND timestamp < $until
GROUP BY type ORDER BY events DESC, type LIMIT 8
"""


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
    listeners: list[dict[str, Any]] = field(default_factory=list)

    @property
    def events(self) -> float:
        return self.drawn.events

    @property
    def errors(self) -> float:
        return self.drawn.errors

    @property
    def per_second(self) -> float:
        return self.events / (self.times.end - self.times.begin).total_seconds()

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
    return Overview(
        times, histogram(counts, by, times), sum(row["rows"] for row in counts), ask(_SERVICES), ask(_TYPES),
        {row["logger"]: row for row in ask(LOSS_BY_LOGGER)}, (time.perf_counter() - began) * 1000,
    )  # fmt: skip


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
    times = times_of(request)

    def work(cancel: Cancel) -> Overview:
        made = look(page.lake, times, loggers=access.loggers, cancel=cancel)
        if access.everything and page.settings.data is not None:  # the listener's counters are everybody's
            made.listeners = listeners(page.settings.data)
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
        "featured": [(report, _query(report, times)) for report in await featured(request)],
        "settings": page.settings,
    }
    return page.views.render(request, "overview.html", values)


def _query(report: Report, times: Times) -> str:
    """The parameters by which a report shows the overview's span."""
    pairs = [("since", times.since), ("until", times.until), ("tz", times.tz)]
    pairs += [(key, "auto") for key, parameter in report.parameters.items() if parameter.type == "bucket"]
    return urlencode(pairs)
