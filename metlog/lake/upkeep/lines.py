"""Lines removed from a file of lines, such as dead letters, that others may be appending to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from metlog.journal import failpoints
from metlog.journal.folder import Folder, read_all, write_all
from metlog.lake.upkeep.folders import UpkeepError

__all__ = ["remove_lines"]

_ATTEMPTS: Final = 5
"""How often it begins again when another file has got the name meanwhile."""


def remove_lines(
    folder: Folder,
    name: str,
    wanted: Callable[[bytes], bool],
    lock: Callable[[], AbstractContextManager[None]],
    dry_run: bool,
) -> int:
    """Puts a file without the lines for which `wanted` is true in the place of a file. Returns how many these are, or with `dry_run` would
    be. The last line counts whether a line feed ends it or not. What is appended meanwhile is kept.

    `lock` is what keeps others from appending, and from giving the name to another file; who has taken it looks whether the name is still
    that of the open file. It is held while the file is read and while it is replaced, not while the lines are looked at. Raises
    `UpkeepError`, OSError.
    """
    for _ in range(_ATTEMPTS):
        try:
            descriptor = folder.open(name, os.O_RDONLY)
        except FileNotFoundError:  # dead letters before the last ones, which went for want of room
            return 0
        try:
            with lock():
                content = read_all(descriptor)
            *lines, last = content.split(b"\n")
            kept = [line + b"\n" for line in lines if not wanted(line)]
            removed = len(lines) - len(kept)
            if last and wanted(last):
                last, removed = b"", removed + 1
            if dry_run or not removed:
                return removed
            if _put(folder, name, descriptor, len(content), b"".join([*kept, last]), lock):
                return removed
        finally:
            os.close(descriptor)
    raise UpkeepError(f"{folder.path / name}: others come in its place all the time; run this again")


def _put(
    folder: Folder, name: str, old: int, size: int, content: bytes, lock: Callable[[], AbstractContextManager[None]]
) -> bool:
    """Whether the file still had its name. `size`: how much of it the content was made of; what lies beyond is moved along."""
    temporary = f".{name}.forget.tmp"
    descriptor = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        _like(descriptor, os.fstat(old))
        write_all(descriptor, content)
        os.fsync(descriptor)
        with lock():
            if not folder.names_open(name, old):
                return False
            if late := read_all(old, start=size):
                write_all(descriptor, late)
                os.fsync(descriptor)
            failpoints.point("forget.lines")
            folder.rename(temporary, name)
        folder.sync()
        return True
    finally:
        os.close(descriptor)
        folder.unlink(temporary, missing_ok=True)


def _like(descriptor: int, facts: os.stat_result) -> None:
    """Gives a file the owner and the mode of another, so that who appends to that one may go on."""
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (facts.st_uid, facts.st_gid):
        os.fchown(descriptor, facts.st_uid, facts.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(facts.st_mode))
