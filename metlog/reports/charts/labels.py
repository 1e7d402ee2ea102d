"""The words above a report's columns and fields, and the form of its times: `95th percentile, ms` for `p95`, a day without a clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from metlog.reports.charts.timeline import step_of, unfinished
from metlog.reports.spec import Chart

__all__ = ["Labelled", "label", "parameter_label", "time_texts", "word"]

_TIMES: Final = {
    "minute": "%Y-%m-%d %H:%M",
    "hour": "%Y-%m-%d %H:%M",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
}
"""How the beginning of a step is written, as for strftime."""
_SECONDS: Final = "%Y-%m-%d %H:%M:%S"

_COLUMNS: Final = {
    "time": "time", "p50": "median", "p95": "95th percentile", "p99": "99th percentile", "last_at": "last seen", "logger": "service",
    "loggers": "services", "calls": "calls", "ended": "ended in order", "kernel_drops": "dropped by the kernel",
    "journal_full": "refused, journal full", "dropped_by_client": "dropped by the client",
    "bytes_per_event": "bytes an event",
}  # fmt: skip
_PARAMETERS: Final = {
    "since": "From", "until": "Until", "tz": "Time zone", "logger": "Service", "by": "Step", "top": "How many", "each": "Each by itself",
    "field": "Field", "type": "Type", "name": "Name",
}  # fmt: skip


class Labelled(Protocol):
    """The part of a report that its labels need."""

    @property
    def chart_spec(self) -> Chart | None: ...

    @property
    def labels(self) -> Mapping[str, str]: ...


def word(column: str) -> str:
    """The usual words for a column, else its name with spaces."""
    return _COLUMNS.get(column) or column.replace("_", " ")


def label(report: Labelled, column: str) -> str:
    """The words for a column: those of the report, else the usual ones, else its name with spaces."""
    given = report.labels.get(column) or (
        report.chart_spec.labels.get(column) if report.chart_spec is not None else None
    )
    return given or word(column)


def parameter_label(name: str) -> str:
    """The words for a parameter: `Time zone` for `tz`."""
    return _PARAMETERS.get(name) or name.replace("_", " ").capitalize()


def time_texts(report: Labelled, values: Mapping[str, Any]) -> Callable[[str, datetime], str]:
    """How times are written, by column: the beginning of a step without what is always 0, and with `so far` when it is not over; all
    others to the second."""
    chart = report.chart_spec
    step = step_of(chart, values) if chart is not None else ""

    def text(column: str, moment: datetime) -> str:
        if chart is None or column != chart.x or step not in _TIMES:
            return moment.strftime(_SECONDS)
        return moment.strftime(_TIMES[step]) + (" so far" if unfinished(moment, step, values) else "")

    return text
