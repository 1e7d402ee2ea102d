"""Mends a journal that no listener writes: for `metlog journal repair`, which shows the plan and does nothing unless told to.

A start does by itself what it needs to go on: it seals what was open, reads past what is damaged, begins anew where a cursor is
damaged. What is here does so without a start, for a disk that was carried elsewhere; it sets aside what is damaged, and, when told, a
segment that an output cannot pass. In doubt events are handed on twice, not dropped; nothing is deleted.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from metlog.journal import inspect as inspection
from metlog.journal.cursor import Position
from metlog.journal.folder import DIR_MODE, FILE_MODE, Folder
from metlog.journal.idempotency import damaged as keys_damaged
from metlog.journal.reader import Damage, read
from metlog.journal.recovery import quarantine, recover
from metlog.journal.segment import ACTIVE, END, RESCUE, read_end

__all__ = ["Step", "held", "plan"]

_FOLDERS: Final = ("cursors", "quarantine")


class Step(NamedTuple):
    """Something to be done."""

    what: str
    do: Callable[[], object]


@contextmanager
def held(journal: Folder) -> Iterator[None]:
    """Keeps listeners from the journal. Raises OSError when one writes it."""
    fd = journal.open("lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = inspection.listener_of(journal)
            raise OSError(f"{journal.path}: a listener (process {owner}) writes this journal; stop it first") from None
        yield
    finally:
        os.close(fd)


def plan(journal: Folder, aside: Sequence[str] = ()) -> list[Step]:
    """What a repair would do, in this order. `aside`: segments to be moved to the quarantine whole. Raises LookupError for one
    that is not there."""
    return [*_aside(journal, aside), *_small_files(journal), *_left_open(journal), *_damaged(journal, aside), *_modes(journal)]  # fmt: skip


def _aside(journal: Folder, names: Sequence[str]) -> Iterator[Step]:
    known = {str(segment.name): segment for segment in inspection.segments(journal)}
    known |= {segment.file: segment for segment in known.values()}
    for name in names:
        if name not in known:
            raise LookupError(f"no segment {name} here; metlog journal check lists them")
        file = known[name].file
        yield Step(
            f"{file}: to quarantine/, out of every output's way; metlog journal export --file reads it there",
            partial(_set_aside, journal, journal, file),
        )


def _small_files(journal: Folder) -> Iterator[Step]:
    for output, cursor in inspection.cursors(journal):
        if cursor is None:
            yield Step(
                f"cursors/{output}.cursor is damaged: to quarantine/; its output begins at the oldest segment again",
                partial(_set_aside, journal, journal.sub("cursors"), f"{output}.cursor"),
            )
    if keys_damaged(journal):
        yield Step(
            "keys is damaged: to quarantine/; repeats of submissions whose segments are gone are not known any more",
            partial(_set_aside, journal, journal, "keys"),
        )
    for entry in sorted(journal.regular(END), key=lambda entry: entry.name):
        if read_end(journal, entry.name.removesuffix(END)) is None:
            yield Step(
                f"{entry.name} is damaged: to quarantine/; what it cut off its segment is read again",
                partial(_set_aside, journal, journal, entry.name),
            )


def _left_open(journal: Folder) -> Iterator[Step]:
    left = sorted(entry.name for suffix in (ACTIVE, RESCUE, ".tmp") for entry in journal.regular(suffix))
    if left:
        yield Step(f"{', '.join(left)}: sealed, or cleared away, as a start does it", partial(recover, journal))


def _damaged(journal: Folder, aside: Sequence[str]) -> Iterator[Step]:
    for checked in inspection.check(journal, running=False):
        segment = checked.segment
        new = [span for span in checked.damaged if span not in checked.kept]
        if new and not segment.open and not {str(segment.name), segment.file} & set(aside):
            size = sum(end - start for start, end in new)
            yield Step(
                f"{segment.file}: {size} bytes that do not verify are copied to quarantine/; outputs pass them by",
                partial(_copy_damaged, journal, segment.name.number),
            )


def _copy_damaged(journal: Folder, number: int) -> None:
    def keep(damage: Damage) -> None:
        start = damage.offset
        quarantine(journal, damage.segment, damage.data, [(start, start + len(damage.data))], start)

    for _ in read(journal, Position(number), Position(number + 1), keep):
        pass


def _modes(journal: Folder) -> Iterator[Step]:
    """What others may read, or its owner may not."""
    for folder in (journal, *_subfolders(journal)):
        for name in folder.names():
            mode = os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_mode
            wanted = FILE_MODE if stat.S_ISREG(mode) else DIR_MODE if name in _FOLDERS else None
            if wanted is not None and not stat.S_ISLNK(mode) and stat.S_IMODE(mode) != wanted:
                yield Step(
                    f"{folder.path / name}: mode {stat.S_IMODE(mode):04o} becomes {wanted:04o}",
                    partial(_chmod, folder, name, wanted),
                )


def _subfolders(journal: Folder) -> Iterator[Folder]:
    for name in _FOLDERS:
        try:
            yield journal.sub(name)
        except OSError:  # not there, or a planted link, which `check` tells
            continue


def _chmod(folder: Folder, name: str, mode: int) -> None:
    """Of what was looked at, not of what may stand under its name by now; a file that an earlier step moved has its mode."""
    try:
        fd = folder.open(name, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _set_aside(journal: Folder, folder: Folder, name: str) -> None:
    with journal.sub("quarantine", create=True) as kept:
        free = next(new for n in range(1 << 20) if not kept.exists(new := f"{name}.{n}" if n else name))
        os.rename(name, free, src_dir_fd=folder.fd, dst_dir_fd=kept.fd)
        kept.sync()
        folder.sync()
