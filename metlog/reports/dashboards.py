"""Dashboards: a page of reports and saved queries, each a TOML file; made on the page, or given in the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from metlog.errors import ConfigError
from metlog.plugins import suggest
from metlog.reports import saving
from metlog.reports.library import Library

__all__ = ["Dashboard", "Dashboards", "Panel", "check", "delete", "save"]

_MOST: Final = 50


class Panel(Struct, forbid_unknown_fields=True, kw_only=True):
    """One report on a dashboard."""

    report: str
    title: str = ""
    """Instead of the report's own."""
    width: Literal["half", "full"] = "half"
    show: Literal["chart", "table", "both"] = "chart"
    parameters: dict[str, str | int | float | bool] = {}  # msgspec copies it
    """Values that this panel always has; the others come from the dashboard and from the address."""


class _File(Struct, forbid_unknown_fields=True, kw_only=True):
    title: str
    description: str = ""
    since: str = ""
    until: str = ""
    tz: str = ""
    logger: str = ""
    loggers: tuple[str, ...] = ()
    panels: list[Panel] = []


class Dashboard(_File, kw_only=True):
    """A dashboard that was read. `since`, `until`, `tz` and `logger` are those of all its panels, unless the address says otherwise;
    empty, each report has its own. `loggers`: services whose readers may see it, when it lies in the data folder; none: those who see
    everything."""

    name: str
    saved: bool = False
    """Whether it lies in the data folder, and may be changed there."""


def _read(name: str, text: str, where: str, *, saved: bool) -> Dashboard:
    try:
        found = msgspec.toml.decode(text, type=_File)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not found.panels:
        raise ConfigError(f"{where}: panels: wants at least one, as [[panels]] with report = NAME")
    if len(found.panels) > _MOST:
        raise ConfigError(f"{where}: panels: there are {len(found.panels)}; a dashboard has at most {_MOST}")
    return Dashboard(name=name, saved=saved, **{key: getattr(found, key) for key in _File.__struct_fields__})


class Dashboards:
    """The dashboards that there are, by name: the files of a configured folder, and those of the data folder's `dashboards/`.

    `broken` has a line for each file that cannot be used. Of two with one name the configured one is shown.
    """

    def __init__(self, data: Path | None, folder: Path | None = None) -> None:
        self.found: dict[str, Dashboard] = {}
        self.broken: list[str] = []
        if data is not None:
            self._files(data / "dashboards", saved=True)
        if folder is not None:
            self._files(folder, saved=False)

    def _files(self, folder: Path, *, saved: bool) -> None:
        for path in sorted(folder.glob("*.toml")):
            try:
                if not saving.is_name(path.stem):
                    raise ConfigError(f"{path}: a dashboard's name is lower-case letters, digits, - and _")
                self.found[path.stem] = _read(path.stem, path.read_text("utf-8-sig"), str(path), saved=saved)
            except (ConfigError, OSError, UnicodeDecodeError) as error:
                self.broken.append(str(error))

    def seen_by(self, loggers: Collection[str] | None) -> list[Dashboard]:
        """Those that somebody sees who may see these services only (None: everything), by name."""
        return [
            board
            for _, board in sorted(self.found.items())
            if loggers is None or not board.saved or (board.loggers and set(board.loggers) <= set(loggers))
        ]

    def __iter__(self) -> Iterator[Dashboard]:
        return iter(self.seen_by(None))


def check(board: Mapping[str, Any], library: Library) -> None:
    """Raises ConfigError when a panel's report is not in the library, or has no such parameter."""
    for index, panel in enumerate(board["panels"], 1):
        report = library[panel["report"]]
        for key in panel.get("parameters", {}):
            if key not in report.parameters:
                raise ConfigError(
                    f"panel {index}: report {report.name!r} has no parameter {key!r}; {suggest(key, report.parameters)}"
                )


def save(data: Path, name: str, settings: Mapping[str, Any], *, replace: bool = False) -> Path:
    """Writes a dashboard (as in its file) into the data folder's `dashboards/`; returns its path. Raises ConfigError when it is not
    right, and FileExistsError."""

    def right(name: str, text: str) -> Dashboard:
        return _read(name, text, name, saved=True)

    return saving.save(data, "dashboard", name, settings, right, replace)


def delete(data: Path, name: str) -> None:
    """Removes a dashboard from the data folder. Raises ConfigError for a name that is none, FileNotFoundError, OSError."""
    saving.delete(data, "dashboard", name)
