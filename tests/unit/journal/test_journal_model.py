"""The journal on a disk that forgets what was not synced: whatever it confirmed is there after any crash, once, and nothing else is.

The journal writes to a real folder. Beside it stands what a crash would leave: of each file the bytes that an fsync has confirmed,
of the folder the names that one has. A crash keeps these, and of everything since then as much as hypothesis likes: a prefix of
the renamings, a part of the bytes, or zeros in their place.
"""

from __future__ import annotations

import errno
import os
import random
import secrets
import shutil
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from metlog.journal.cursor import Position
from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.reader import read
from metlog.journal.segment import ACTIVE, Clock, encode_record, listing, scan
from metlog.journal.writer import Journal, JournalOptions

OPTIONS = JournalOptions(segment_bytes=400, segment_age=1e9, sync_bytes=1 << 40, min_free=0, max_bytes=1 << 30)
EVERYTHING = Position(1 << 40)


class Append(NamedTuple):
    """So many records of such a size in one piece."""

    number: int
    size: int


class Commit(NamedTuple):
    """A turn of the committing thread, in which so many fsyncs of files fail."""

    failing: int


class Luck:
    """How much of what no fsync has confirmed a crash keeps: drawn once, so that the draws do not hang on how much there is."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._fixed = {0: 0.0, 1: 1.0}.get(seed)

    def part(self, whole: int) -> int:
        share = self._fixed if self._fixed is not None else self._random.choice([0.0, 1.0, self._random.random()])
        return round(share * whole)


STEPS = st.one_of(
    st.builds(Append, st.integers(1, 3), st.sampled_from([1, 60, 180])),
    st.builds(Commit, st.sampled_from([0, 0, 0, 1, 2])),
)


class Disk:
    """What lies on the disk below the journal's folder, and what of it would survive."""

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self.names: dict[str, int] = {}
        """Names that are durable, with the file behind each."""
        self.since: list[tuple[str, str, str, int]] = []
        """What happened to names since then."""
        self.content: dict[int, bytes] = {}
        """Bytes of each file that are durable."""
        self.failed: set[int] = set()
        self.fail = 0
        """How many of the next file syncs fail."""
        if durable:
            for path in root.iterdir():
                if path.is_file():
                    inode = path.stat().st_ino
                    self.names[path.name] = inode
                    self.content[inode] = path.read_bytes()

    def synced(self, fd: int) -> None:
        facts = os.fstat(fd)
        if facts.st_ino == self.root.stat().st_ino:
            self.names = {path.name: path.stat().st_ino for path in self.root.iterdir() if path.is_file()}
            self.since.clear()
            return
        if facts.st_ino in self.failed:
            raise AssertionError("an fsync was asked for again of a file of which one has failed")
        if self.fail:
            self.fail -= 1
            self.failed.add(facts.st_ino)
            raise OSError(errno.EIO, "made up")
        self.content[facts.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def crash(self, into: Path, luck: Luck) -> None:
        """Writes to another folder what a crash leaves."""
        names = dict(self.names)
        for what, old, new, inode in self.since[: luck.part(len(self.since))]:
            if what == "create":
                names[new] = inode
            elif what == "rename":
                names[new] = names.pop(old, inode)
            else:
                names.pop(old, None)
        now = {path.stat().st_ino: path for path in self.root.iterdir() if path.is_file()}
        for name, inode in sorted(names.items()):
            durable = self.content.get(inode, b"")
            written = now[inode].read_bytes() if inode in now else durable
            if inode in self.failed:
                written = written[: len(durable)]  # the kernel has dropped what it could not write
            more = written[len(durable) :]
            kept = luck.part(len(more))
            zeros = luck.part(len(more) - kept)
            (into / name).write_bytes(durable + more[:kept] + bytes(zeros))


class Watched(Folder):
    """The journal's folder; tells the disk what happens to names."""

    disk: Disk
    held: list[int]
    """A descriptor of every file that was made, so that no two ever have one number."""

    def open(self, name: str, flags: int) -> int:
        new = bool(flags & os.O_CREAT) and not self.exists(name)
        fd = super().open(name, flags)
        if new:
            self.disk.since.append(("create", "", name, os.fstat(fd).st_ino))
            self.held.append(os.open(name, os.O_PATH, dir_fd=self.fd))  # a second one that locks nothing
        return fd

    def rename(self, old: str, new: str) -> None:
        inode = os.stat(old, dir_fd=self.fd).st_ino
        super().rename(old, new)
        self.disk.since.append(("rename", old, new, inode))

    def unlink(self, name: str, *, missing_ok: bool = False) -> None:
        super().unlink(name, missing_ok=missing_ok)
        self.disk.since.append(("unlink", name, "", 0))


class JournalOnAForgetfulDisk(RuleBasedStateMachine):
    """The journal's own thread rests: the rules commit, so that every moment can be a crash."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.top = Path(tempfile.mkdtemp(prefix="metlog-model-"))
        self.generation = 0
        self.next = 0
        self.appended: dict[int, int] = {}
        """Record number to log sequence number, of this run."""
        self.confirmed: set[int] = set()
        """Records that must survive."""
        self.retired: set[int] = set()
        self.possible: set[int] = set()
        self.made: Counter[str] = Counter()
        self.held: list[int] = []

    @initialize()
    def begin(self) -> None:
        self.patch.setattr(Journal, "_commit_loop", lambda journal: None)
        runs = count()
        self.patch.setattr(
            secrets, "token_hex", lambda size: f"run{next(runs):03}"
        )  # hypothesis wants the same each time
        self.patch.setattr(os, "fsync", lambda fd: self.disk.synced(fd))
        self.patch.setattr(os, "fdatasync", lambda fd: self.disk.synced(fd))
        root = self.top / "0"
        root.mkdir()
        self.open(root, durable=False)

    def open(self, root: Path, *, durable: bool) -> None:
        self.disk = Disk(root, durable=durable)
        self.held += [os.open(path, os.O_PATH) for path in root.iterdir()]
        self.folder = Watched.root(root)
        self.folder.disk, self.folder.held = self.disk, self.held
        self.journal = Journal(self.folder, OPTIONS, Clock())
        self.appended = {}

    def abandon(self) -> None:
        """As when the process is killed: descriptors are closed, nothing else happens."""
        for segment in [self.journal._active, *self.journal._to_seal]:
            if segment is not None and not segment._sealed:
                os.close(segment.fd)
        self.journal.release()
        self.folder.close()

    @rule(steps=st.lists(STEPS, min_size=2, max_size=12))
    def write(self, steps: list[Append | Commit]) -> None:
        for step in steps:
            if isinstance(step, Append):
                self.append(step)
            else:
                self.commit(step)

    def append(self, step: Append) -> None:
        numbers = range(self.next, self.next + step.number)
        records = b"".join(
            encode_record(n, 1, b"t", b"", b'{"n":%d,"x":"%s"}\n' % (n, b"x" * step.size)) for n in numbers
        )
        try:
            lsn = self.journal.append(records)
        except Full:
            return
        self.next += step.number
        self.appended.update(dict.fromkeys(numbers, lsn))
        self.possible.update(numbers)

    def commit(self, step: Commit) -> None:
        self.disk.fail = step.failing
        try:
            self.journal._commit(False)
        except OSError:  # what the thread would try again
            pass
        self.disk.fail = 0
        self.confirmed |= {n for n, lsn in self.appended.items() if lsn <= self.journal._durable}
        if self.journal._capacity.reason and not self.journal._broken():
            self.journal._capacity.resume_or_pause("")

    @precondition(lambda self: self.journal._sealed)
    @rule(share=st.floats(0, 1))
    def retire(self, share: float) -> None:
        number = round(share * self.journal.end.number)
        gone = [name for name in listing(self.folder)[0] if name.number < number]
        for name in gone:
            self.retired |= {record.received_at for record in scan(self.folder, name)[1]}
        self.journal.retire(number)

    @precondition(lambda self: self.appended)
    @rule(seed=st.integers(0, 1 << 16))
    def crash(self, seed: int) -> None:
        self.abandon()
        self.generation += 1
        root = self.top / str(self.generation)
        root.mkdir()
        self.disk.crash(root, Luck(seed))
        self.open(root, durable=True)
        found = self.found()
        survived = self.confirmed - self.retired
        assert survived <= set(found), f"lost {sorted(survived - set(found))}"
        # What a crash brings back of the retired is what the cursors, which are durable, are past.
        self.possible = set(found) | self.retired
        self.confirmed = set(found) | self.confirmed

    @precondition(lambda self: self.appended)
    @rule()
    def killed(self) -> None:
        """Only the process: the kernel keeps everything."""
        self.abandon()
        self.open(self.folder.path, durable=False)
        self.disk.names = {path.name: path.stat().st_ino for path in self.disk.root.iterdir() if path.is_file()}
        self.disk.content = {inode: (self.disk.root / name).read_bytes() for name, inode in self.disk.names.items()}
        assert self.possible - self.retired <= set(self.found())
        self.confirmed |= set(self.found())

    @rule()
    def stop(self) -> None:
        self.journal._closed = True
        self.journal._commit(True)
        assert self.possible - self.retired <= set(self.found())
        self.journal.release()
        self.folder.close()
        disk = self.disk
        self.open(disk.root, durable=False)
        self.disk.names, self.disk.content = disk.names, disk.content
        self.confirmed |= set(self.found())

    def found(self) -> list[int]:
        return [entry.record.received_at for entry in read(self.folder, Position(), EVERYTHING)]

    @invariant()
    def everything_is_there_once(self) -> None:
        if not hasattr(self, "journal"):
            return
        found = self.found()
        assert len(found) == len(set(found)), f"twice: {[n for n, times in Counter(found).items() if times > 1]}"
        assert set(found) <= self.possible
        # What outputs may read, and hand on, no crash takes back.
        readable = {entry.record.received_at for entry in read(self.folder, Position(), self.journal.end)}
        assert readable <= self.confirmed

    @invariant()
    def no_name_is_used_twice(self) -> None:
        if not hasattr(self, "journal"):
            return
        for what, _, new, inode in self.disk.since:
            if what == "create" and new.endswith(ACTIVE):
                known = self.made.setdefault(new, inode)
                assert known == inode

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.abandon()
        self.patch.undo()
        for fd in self.held:
            os.close(fd)
        shutil.rmtree(self.top)


TestJournalOnAForgetfulDisk = pytest.mark.slow(JournalOnAForgetfulDisk.TestCase)
TestJournalOnAForgetfulDisk.settings = settings(max_examples=100, stateful_step_count=10, deadline=None)
