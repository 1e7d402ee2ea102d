"""The output `lake` in its own process: what it tells the listener, and that a try to begin which fails holds nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from metlog.journal.cursor import Position
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import Clock, SegmentName, encode_record, header
from metlog.lake.claims import Claim, CopiedError
from metlog.lake.storage import FolderStorage
from metlog.listener.deadletters import DeadLetters
from metlog.listener.outputs.context import Context
from metlog.listener.outputs.lake import LakeOutput


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Dying(LakeOutput):
    """Ends at its first segment."""

    def _write(self, *_: Any) -> int:
        raise Killed


def test_its_place_is_told_before_the_first_segment(tmp_path: Path) -> None:
    """So that an end of its process there counts for the segment; an end before it has loaded what it needs does not."""
    told: list[dict[str, Any]] = []
    with (
        Folder.root(tmp_path) as data,
        data.sub("journal", create=True) as journal,
        data.sub("cursors", create=True) as cursors,
        data.sub("dead", create=True) as dead,
    ):
        lines = encode_record(1_700_000_000_000_000, 1, b"test://", b"", b'{"type":"a"}\n')
        journal.replace(f"{SegmentName(1, 'test')}.seg", header(Clock()) + lines)
        context = Context(
            "lake", Route(), data, journal, cursors, DeadLetters(dead, "test"), lambda facts: told.append(dict(facts))
        )
        context.advance(Position(2))
        with pytest.raises(Killed):
            Dying().run(context)
    assert told == [{"at": Position(), "by_segment": True}]


def context(data: Path) -> Context:
    root = Folder.root(data, create=True)
    journal = root.sub("journal", create=True).sub("main", create=True)
    dead = DeadLetters(root.sub("dead", create=True), "x")
    report: dict[str, Any] = {}
    return Context("lake", Route(), root, journal, journal.sub("cursors", create=True), dead, report.update)


def test_a_place_that_is_not_to_be_had_costs_no_descriptor_a_try(tmp_path: Path) -> None:
    """The data folder is a copy of one whose listener runs."""
    first = context(tmp_path / "data")
    shared = FolderStorage(Folder.root(tmp_path / "shared", create=True))
    Claim(shared, first.journal)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    Claim(shared, first.journal)
    copy = context(tmp_path / "copy")
    output = LakeOutput(uri=f"file://{tmp_path}/shared")
    with pytest.raises(CopiedError):
        output._open(copy)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(CopiedError):
            output._open(copy)
    assert len(os.listdir("/proc/self/fd")) == before
    output._open(first)
