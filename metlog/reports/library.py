"""Where reports are found: the package, entry points, a configured folder, the data folder; a later one wins by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from metlog.errors import ConfigError
from metlog.plugins import suggest
from metlog.reports import saving
from metlog.reports.report import Report

__all__ = ["GROUPS", "OTHERS", "Library", "delete", "save"]

_PACKAGE: Final = Path(__file__).parent / "builtin"
GROUPS: Final = ("Users", "Requests", "Errors", "Metrics", "Events", "Delivery")
"""Groups of the built-in reports, in the order of a list; others come after them by name."""
OTHERS: Final = "Others"
"""Heading of the reports that name no group."""


class Library:
    """The reports that there are, by name.

    data: the data folder, whose `reports/` is looked into. folder: one more, METLOG_REPORTS if not given.
    `broken` has a line for each file or entry point that cannot be used.
    """

    def __init__(self, data: Path | str | None = None, folder: Path | str | None = None) -> None:
        self.reports: dict[str, Report] = {}
        self.broken: list[str] = []
        configured = os.environ.get("METLOG_REPORTS") if folder is None else folder
        self._add(*_packaged())
        self._entry_points()
        if configured:
            if not Path(configured).is_dir():
                named = "METLOG_REPORTS" if folder is None else "folder of reports"
                raise ConfigError(f"{named} = {str(configured)!r}: no such folder")
            self._add(*_files(Path(configured)))
        self._given = dict(self.reports)
        if data is not None:
            self._add(*_files(Path(data) / "reports"))

    def _add(self, reports: Mapping[str, Report], broken: Collection[str]) -> None:
        self.reports |= reports
        self.broken += broken

    def _entry_points(self) -> None:
        from metlog.plugins import installed, load

        for plugin in installed("report"):
            if not saving.is_name(plugin.name):
                self.broken.append(
                    f"{plugin.origin}: {plugin.name!r}: a report's name is lower-case letters, digits, - and _"
                )
                continue
            try:
                target = load("report", plugin.name, "report")
                self.reports[plugin.name] = _report(plugin.name, target, plugin.origin)
            except ConfigError as error:
                self.broken.append(f"{plugin.origin}: {error}")
            except Exception as error:  # noqa: BLE001 - somebody else's code; the other reports are there all the same
                self.broken.append(f"{plugin.origin}: report {plugin.name!r}: {type(error).__name__}: {error}")

    def seen_by(self, loggers: Collection[str] | None) -> Library:
        """The library of somebody who may see these services only (None: everything). A report of the data folder, whose title and SQL may
        tell of others, is theirs when it says so: every one of its `loggers` is among them."""
        if loggers is None:
            return self
        seen = copy(self)
        seen.broken = []
        seen.reports = {
            name: shown
            for name, report in self.reports.items()
            if (
                shown := report
                if self._given.get(name) is report or (report.loggers and set(report.loggers) <= set(loggers))
                else self._given.get(name)
            )
        }
        return seen

    def is_saved(self, name: str) -> bool:
        """Whether the report of this name lies in the data folder, and may be changed there."""
        return name in self.reports and self.reports[name] is not self._given.get(name)

    def is_given(self, name: str) -> bool:
        """Whether a report of this name comes with the package, a plugin or the configured folder. The data folder may have another one in
        its place."""
        return name in self._given

    def __getitem__(self, name: str) -> Report:
        """The report; raises ConfigError that names the nearest one."""
        if name in self.reports:
            return self.reports[name]
        raise ConfigError(f"{name!r}: no such report; {suggest(name, self.reports)}")

    def __iter__(self) -> Iterator[Report]:
        return iter(sorted(self.reports.values(), key=lambda report: report.name))

    def __len__(self) -> int:
        return len(self.reports)

    def grouped(self) -> list[tuple[str, list[Report]]]:
        """The reports by group, each with its heading; those without one last."""
        found: dict[str, list[Report]] = {}
        for report in self:
            found.setdefault(report.group or OTHERS, []).append(report)
        place = {name: number for number, name in enumerate(GROUPS)}
        return sorted(found.items(), key=lambda item: (item[0] == OTHERS, place.get(item[0], len(place)), item[0]))


def _files(folder: Path) -> tuple[dict[str, Report], list[str]]:
    """The reports of a folder by name, and a line for each file that cannot be used."""
    reports: dict[str, Report] = {}
    broken: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        if not saving.is_name(path.stem):
            broken.append(f"{path}: a report's name is lower-case letters, digits, - and _")
            continue
        try:
            reports[path.stem] = Report.from_file(path)
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            broken.append(str(error))
    return reports, broken


@lru_cache(maxsize=1)
def _packaged() -> tuple[dict[str, Report], list[str]]:
    """The package's own, read once: they do not change while a process runs, and a page looks for reports again and again."""
    return _files(_PACKAGE)


def _report(name: str, target: Report | str | Path | Callable[[], Any], origin: str) -> Report:
    """What an entry point names: a Report, the path of its file, or a callable that gives one of these."""
    found = target() if callable(target) else target
    if isinstance(found, Report):
        return replace(found, name=name, origin=found.origin or origin)
    if isinstance(found, (str, Path)):
        return Report.from_toml(name, Path(found).read_text("utf-8-sig"), f"{origin}, {found}")
    raise ConfigError(f"report {name!r} is neither a Report nor the path of one: {found!r}")


def save(data: Path | str, name: str, settings: Mapping[str, Any], *, replace: bool = False) -> Path:
    """Writes a report (title, description, sql, parameters, chart as in a report's file) into the data folder's
    `reports/`; returns its path. Raises ConfigError when it is not right, and FileExistsError."""
    return saving.save(Path(data), "report", name, settings, Report.from_toml, replace)


def delete(data: Path | str, name: str) -> None:
    """Removes a report from the data folder's `reports/`. Raises ConfigError for a name that is none, FileNotFoundError, OSError."""
    saving.delete(Path(data), "report", name)
