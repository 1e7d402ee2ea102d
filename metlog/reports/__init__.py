"""Reports: the questions that every service owner asks, each a file with its SQL and its chart.

>>> from metlog.reports import Library
>>> library = Library()
>>> library["unique-users"].title
'Unique users'
"""

from __future__ import annotations

from metlog.reports.library import Library, save
from metlog.reports.report import COMMON, Chart, Empty, Parameter, Report, ReportResult

__all__ = ["COMMON", "Chart", "Empty", "Library", "Parameter", "Report", "ReportResult", "save"]
