"""How much memory there is for one more process."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["available"]

_ROOT: Final = Path("/")


class _Files(NamedTuple):
    """Names of a control group's files, and of the lines of `memory.stat` that say what is kept of files."""

    most: str
    now: str
    kept: tuple[str, str]


_VERSION_1: Final = _Files(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)
_VERSION_2: Final = _Files("memory.max", "memory.current", ("inactive_file", "active_file"))


def available(root: Path = _ROOT) -> int:
    """Returns how many bytes a process that is started now may take: the least of what the machine has, of what the control groups
    of this process leave, and of the limits that the new one would inherit. `root` is where `/proc` and `/sys` are."""
    found = [limit for limit in map(_limit, (resource.RLIMIT_AS, resource.RLIMIT_DATA)) if limit >= 0]
    found += _numbers(root / "proc/meminfo", "MemAvailable:", 1024)
    found += _left_by_groups(root)
    return max(0, min(found, default=1 << 62))


def _limit(kind: int) -> int:
    soft, _ = resource.getrlimit(kind)
    return -1 if soft == resource.RLIM_INFINITY else soft


def _left_by_groups(root: Path) -> Iterator[int]:
    """What the group of this process, and each group above it, leaves. What the kernel keeps of files gives way, and is not counted."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        files = _VERSION_1 if controllers else _VERSION_2
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(top):
                break
            most, now = _lines(folder / files.most), _lines(folder / files.now)
            if most and now and most[0].isdecimal():
                kept = [sum(_numbers(folder / "memory.stat", name, 1)) for name in files.kept]
                yield int(most[0]) - (int(now[0]) - sum(kept))


def _numbers(path: Path, name: str, unit: int) -> list[int]:
    """The number behind a name in a file of lines, in bytes; none where there is no such line or file."""
    return [int(words[1]) * unit for line in _lines(path) if (words := line.split())[:1] == [name]]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):  # another system, or an older kernel
        return []
