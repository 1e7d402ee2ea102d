"""`[lake]` of the configuration: which upkeep the listener does, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from metlog.errors import Problems
from metlog.plugins import convert
from metlog.plugins.conversion import age
from metlog.plugins.schema import Seconds, Size, checked

__all__ = ["JOBS", "LakeUpkeep", "Schedule", "lake_upkeep"]

JOBS: Final = ("compact", "expire")

_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_OFF: Final = ("off", 0)
_SHORTEST: Final = 1.0
"""Seconds between two runs, at least."""


class Schedule(Struct, frozen=True):
    """When a job is due: every so many seconds, or each day at one time (UTC)."""

    every: float = 0.0
    minute: int = -1
    """Minute of the day; -1: goes by `every`."""

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Returns what `6h` or `03:17` says; raises ValueError that states what would be right."""
        if match := _CLOCK.fullmatch(text.strip()):
            return cls(minute=int(match[1]) * 60 + int(match[2]))
        try:
            seconds = convert(text, Seconds)
        except ValueError:
            seconds = 0.0
        if seconds < _SHORTEST:
            raise ValueError('wants a time of day in UTC, as "03:17", an interval, as "6h", or "off"')
        return cls(every=seconds)

    def after(self, moment: datetime) -> datetime:
        """Returns the first time at which the job is due after it ran, or was first configured, at `moment` (UTC)."""
        if self.minute < 0:
            return moment + timedelta(seconds=self.every)
        midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        due = midnight + timedelta(minutes=self.minute)
        return due if due > moment else due + timedelta(days=1)


def _when(text: str) -> str:
    return f"every {text}" if Schedule.parse(text).minute < 0 else f"daily at {text} UTC"


def _age_text(seconds: float) -> str:
    """Returns `90 days`, or the largest unit that leaves no rest."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds % size == 0:
            count = int(seconds // size)
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    raise AssertionError


class LakeUpkeep(Struct, frozen=True, kw_only=True):
    """`[lake]`: upkeep that the listener does by itself, in a process of its own. Sizes in bytes, ages in seconds."""

    compact: str = "off"
    """When small files are merged, at a time of day (UTC) as ``03:17``, or every so often as ``6h``; ``off``, never."""
    compact_size: Annotated[Size, Meta(ge=1 << 20)] = 128 << 20
    """Size that a merged file has, about."""
    compact_fewest: Annotated[int, Meta(ge=2, le=1_000_000)] = 4
    """Small files of a day that are worth a merge."""
    compact_level: Annotated[int, Meta(ge=1, le=19)] = 3
    """zstd's compression level of merged files."""
    expire: Any = 0.0
    """Age, as ``90d``, from which files go, by the newest event in them; ``off``: none goes."""
    expire_types: dict[str, Any] = {}
    """Ages of some types by themselves, as ``{ timer = "7d", "debug.*" = "3d" }``."""
    expire_at: str = "03:47"
    """When old events are removed: as `compact`."""

    def schedule(self, job: str) -> Schedule | None:
        """Returns when a job of `JOBS` is due; None for one that is off."""
        if job == "compact":
            return None if self.compact == "off" else Schedule.parse(self.compact)
        return Schedule.parse(self.expire_at) if self.expire or self.expire_types else None

    @property
    def on(self) -> bool:
        """Whether any job is."""
        return any(self.schedule(job) is not None for job in JOBS)

    def described(self) -> list[str]:
        """Returns a sentence for each job that is on: what it does, and when."""
        told = []
        if self.schedule("compact") is not None:
            told.append(f"merges small files, {_when(self.compact)}")
        if self.schedule("expire") is not None:
            ages = [f"files older than {_age_text(self.expire)}"] if self.expire else []
            ages += [f"{name} older than {_age_text(seconds)}" for name, seconds in self.expire_types.items()]
            told.append(f"removes {', '.join(ages)}, {_when(self.expire_at)}")
        return told

    def arguments(self, job: str) -> dict[str, Any]:
        """What the process that does a job is told."""
        if job == "compact":
            return {"target": self.compact_size, "fewest": self.compact_fewest, "level": self.compact_level}
        return {"age": self.expire, "types": self.expire_types}


def _age(key: str, text: object, problems: Problems) -> float:
    try:
        return age(text)
    except ValueError as error:
        problems.add(f"lake.{key} = {text!r}: {error}")
        return 0.0


def lake_upkeep(table: Mapping[str, Any], problems: Problems, remote: str = "") -> LakeUpkeep:
    """Returns the checked table `[lake]`; faults are noted. `remote`: the URI of a data set on shared storage, which is not kept
    up by metlog."""
    values = checked(LakeUpkeep, table, "lake", problems)
    for key in ("compact", "expire_at"):
        if key in values and (key, values[key]) != ("compact", "off"):
            try:
                Schedule.parse(values[key])
            except ValueError as error:
                problems.add(f"lake.{key} = {values.pop(key)!r}: {error}")
    if "expire" in values:
        values["expire"] = 0.0 if values["expire"] in _OFF else _age("expire", values["expire"], problems)
    ages = {name: _age(f"expire_types.{name}", text, problems) for name, text in values.pop("expire_types", {}).items()}
    found = LakeUpkeep(**values, expire_types=ages)
    if found.on and remote:
        where = remote.partition("?")[0]
        problems.add(
            f"lake: metlog does no upkeep of a data set on shared storage ({where}); leave compact and expire out"
        )
    return found
