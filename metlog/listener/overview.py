"""What a listener does, told from its status file and its folder: for `metlog status`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from metlog.journal.folder import Folder
from metlog.journal.inspect import STATUS_AHEAD, look, status_file, status_of, told_by
from metlog.lake.days import day_folders

__all__ = ["Overview", "overview", "told"]

_STALE: Final = 10.0
"""Seconds after which a status that says `running` is of a listener that hangs or was killed."""


class Overview(Struct, kw_only=True):
    """The state of one data folder. Sizes in bytes, times in seconds."""

    data: str
    name: str = "main"
    """Name of the listener's journal."""
    running: bool
    told_at: str = ""
    """When the listener wrote its status."""
    pid: int = 0
    state: str
    """`running`, `stopped`, `not answering`, `never started`."""
    inputs: dict[str, dict[str, Any]] = {}
    outputs: dict[str, dict[str, Any]] = {}
    """Of each what its process tells, and its lag as the journal shows it: `lag_bytes`, `lag_segments`."""
    segments: list[dict[str, Any]] = []
    """Of each of the journal, the oldest first: `name`, `open`, `bytes`, `written_at`, `waits_for` (outputs)."""
    journal: dict[str, Any] = {}
    loss: dict[str, Any] = {}
    dead_letters: dict[str, int] = {}
    upkeep: dict[str, dict[str, Any]] = {}
    """Of each job that the listener does by itself when it ran last, what it did, and when it is due."""
    reloads: dict[str, Any] = {}
    """How many were `done` and `refused`, and the `error` of the last one."""
    problems: list[str] = []
    parquet: dict[str, int] = {}
    """`files`, `bytes` of the data set, and `bytes_a_day`: of the last whole days."""
    disk: dict[str, Any] = {}
    """`free`, `total`, and `full_in_days` at the rate of the last days; None when nothing is known of the rate."""


def told(data: Path) -> list[str]:
    """Returns the journals whose listeners have written their status into a data folder, `main` first; `main` alone where none has."""
    with Folder.root(data) as root:
        return told_by(root) or ["main"]


def overview(data: Path, now: datetime | None = None, *, name: str = "main") -> Overview:
    """Reads the state of a data folder, and of the listener with the journal `name`; needs no listener. Raises FileNotFoundError
    without such a folder."""
    if not data.is_dir():
        raise FileNotFoundError(f"there is no data folder {str(data)!r}")
    moment = now or datetime.now(UTC)
    parquet = _parquet(data, moment)
    disk = _disk(data, parquet)
    segments, lag = _journal(data, name)
    with Folder.root(data) as root:
        status = status_of(root, name)
    if not status:
        state = "never started" if status is None else "not answering"
        damaged = f"{status_file(name)} is damaged; a listener that runs writes it anew within a second"
        return Overview(
            data=str(data), name=name, running=False, state=state, problems=[] if status is None else [damaged],
            parquet=parquet, disk=disk, segments=segments,
        )  # fmt: skip
    age = (moment - datetime.fromisoformat(status["time"])).total_seconds()
    running = bool(status.get("running"))
    state = "stopped" if not running else "running" if -STATUS_AHEAD < age < _STALE else "not answering"
    problems = list(status.get("health", ())) + list(status.get("warnings", ()))
    if state == "not answering":
        how = f"is {age:,.0f} s old" if age > 0 else f"is of a time that lies {-age:,.0f} s ahead"
        problems.insert(0, f"its status {how}: the listener hangs or was killed")
    delivery = status.get("delivery", {})
    reloads = status.get("reloads", {})
    if reloads.get("error"):
        problems.append(f"the last reload changed nothing: {reloads['error']}")
    return Overview(
        data=str(data), name=name, running=state == "running", told_at=status["time"], pid=status.get("pid", 0), state=state,
        problems=problems, parquet=parquet, disk=disk, segments=segments, upkeep=status.get("upkeep", {}), reloads=reloads,
        inputs=_inputs(status),
        outputs={name: {**facts, **lag.get(name, {})} for name, facts in status.get("outputs", {}).items()},
        journal={**status.get("journal", {}), **status.get("intake", {})},
        loss={name: delivery.get(name, 0) for name in ("received", "lost", "repeated", "streams", "ended")},
        dead_letters=status.get("dead_letters", {}),
    )  # fmt: skip


def _inputs(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: dict(counts) for name, counts in status.get("inputs", {}).items()}


def _journal(data: Path, name: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """The segments of a journal, and the lag of each output, from the journal itself."""
    try:
        with Folder.root(data) as root, root.sub("journal") as journals, journals.sub(name) as journal:
            state = look(root, name, journal)
    except OSError:  # no journal yet
        return [], {}
    found = [
        {
            "name": str(segment.name), "open": segment.open, "bytes": segment.bytes, "written_at": segment.written_at,
            "waits_for": [item.output for item in state.outputs if item.at.number <= segment.name.number],
        }
        for segment in state.segments
    ]  # fmt: skip
    return found, {item.output: {"lag_bytes": item.bytes, "lag_segments": item.segments} for item in state.outputs}


def _parquet(data: Path, now: datetime) -> dict[str, int]:
    """Counts of the data set, and its growth over the last days that are over."""
    files = size = 0
    by_day: dict[date, int] = {}
    with contextlib.suppress(FileNotFoundError), Folder.root(data) as root, root.sub("events") as events:
        for day, folder in day_folders(events):
            for entry in folder.regular(".parquet"):
                if entry.name.startswith("."):
                    continue
                try:
                    here = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # merged, or too old, since the folder was listed
                    continue
                files, size = files + 1, size + here
                by_day[day] = by_day.get(day, 0) + here
    over = [by_day[day] for day in sorted(by_day) if day < now.date()][-7:]
    return {"files": files, "bytes": size, "days": len(by_day), "bytes_a_day": sum(over) // len(over) if over else 0}


def _disk(data: Path, parquet: Mapping[str, int]) -> dict[str, Any]:
    found = os.statvfs(data)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    rate = parquet["bytes_a_day"]
    return {"free": free, "total": total, "full_in_days": round(free / rate, 1) if rate else None}
