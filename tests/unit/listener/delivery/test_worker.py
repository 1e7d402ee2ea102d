"""The process of an output, as the listener starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from metlog.journal.cursor import Position
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import Clock, SegmentName, encode_record, header
from metlog.listener.delivery.batches import _FIGURES
from metlog.listener.delivery.worker import Assignment, Message, _Reporter, _sendable
from tests.helpers.paths import PLUGINS

pytestmark = pytest.mark.process


@pytest.mark.parametrize("letter", ["e", "語", "\udcff"])
def test_a_report_with_the_longest_texts_and_figures_is_sent(letter: str) -> None:
    reader, writer = os.pipe()
    figures = {f"partition_{number}": number for number in range(84)}
    assert 1400 < len(msgspec.json.encode(figures)) <= _FIGURES
    _Reporter(writer)({"describe": _sendable(letter * 5000), "error": letter * 5000, **figures})
    os.close(writer)
    with open(reader, "rb") as said:
        (line,) = said
    assert msgspec.json.decode(line)["partition_83"] == 83


def test_an_output_that_cannot_say_where_it_delivers_and_cannot_be_closed_delivers(tmp_path: Path) -> None:
    lines = b"".join(msgspec.json.encode({"type": "a", "fields": {"n": n}}) + b"\n" for n in range(3))
    with (
        Folder.root(tmp_path) as data,
        data.sub("journal", create=True) as journals,
        journals.sub("main", create=True) as journal,
    ):
        journal.replace(
            f"{SegmentName(1, 'test')}.seg",
            header(Clock()) + encode_record(1_700_000_000_000_000, 3, b"test://", b"", lines),
        )
    path = tmp_path / "delivered"
    reports, theirs = os.pipe()
    spec = {"name": "faulty", "path": str(path)}
    assignment = Assignment(str(tmp_path), "main", "out", spec, Route(), {}, 1 << 20, theirs)
    given = b"".join(msgspec.json.encode(line) + b"\n" for line in (assignment, Message(Position(2), drain=True)))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-m", "metlog.listener.delivery.worker"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(theirs,),
        env=environ,
    )
    os.close(theirs)
    assert process.stdin is not None
    process.stdin.write(given)
    process.stdin.flush()
    with open(reports, "rb") as said:
        told = [msgspec.json.decode(line) for line in said]
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert path.read_text() == "0\n1\n2\n"
    assert "OSError: no file \\udcff" in [facts.get("error") for facts in told]
    assert told[-1]["at"] == [2, 0, 0]
    for text in (b"output out: describe() failed", b"RuntimeError: knows nothing", b"output out: close() failed"):
        assert text in errors
