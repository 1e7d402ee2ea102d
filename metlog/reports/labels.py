"""The words above a report's columns and fields, and the form of its times: `95th percentile, ms` for `p95`, a day without a clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from metlog.reports.report import Report

__all__ = ["TIME_FORMS", "forms", "label", "parameter_label"]

TIME_FORMS: Final = {
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
    "journal_full": "refused, journal full", "numbered_before": "before this time", "dropped_by_client": "dropped by the client",
    "bytes_per_event": "bytes an event", "rate": "share",
}  # fmt: skip
_PARAMETERS: Final = {
    "since": "From", "until": "Until", "tz": "Time zone", "logger": "Service", "by": "Step", "top": "How many", "each": "Each by itself",
    "field": "Field", "type": "Type", "name": "Name",
}  # fmt: skip


def label(report: Report, column: str) -> str:
    """The words for a column: those of the report, else the usual ones, else its name with spaces."""
    given = report.labels.get(column) or (
        report.chart_spec.labels.get(column) if report.chart_spec is not None else None
    )
    return given or _COLUMNS.get(column) or column.replace("_", " ")


def parameter_label(name: str) -> str:
    """The words for a parameter: `Time zone` for `tz`."""
    return _PARAMETERS.get(name) or name.replace("_", " ").capitalize()


def forms(report: Report, values: Mapping[str, Any]) -> dict[str, str]:
    """How the columns of times are written: the beginning of a step without what is always 0, all others to the second."""
    chart = report.chart_spec
    step = str(values.get("by") or (chart.step if chart is not None else ""))
    found = {"last_at": _SECONDS}
    if chart is not None and step in TIME_FORMS:
        found[chart.x] = TIME_FORMS[step]
    return found
