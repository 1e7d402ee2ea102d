"""A listener whose output has been dead for long: its start reads none of the backlog, and holds none of it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from metlog.journal.folder import Folder
from metlog.journal.segment import Clock, encode_record
from metlog.journal.writer import Journal, JournalOptions
from tests.helpers.ports import port_of
from tests.helpers.reliability import Client, Listener
from tests.helpers.waiting import wait_for

Make = Callable[..., Listener]

SEGMENT = 2 << 20
DEAD = """
[listener]
data = "{data}"
stall_after = 5

[journal]
segment_bytes = "2MB"

[[inputs]]
name = "http"
port = 0

[[outputs]]
name = "http"
port = {port}
timeout = 2
"""


class Cost(NamedTuple):
    """Of the listener's own process once it took events, and of its output's."""

    read: int
    memory: int
    files: int
    output_memory: int
    output_files: int


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that nobody listens at."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield port_of(sock)


def backlog(data: Path, segments: int) -> None:
    """So many sealed segments, as a listener leaves them."""
    (data / "journal/main").mkdir(parents=True)
    with Folder.root(data / "journal/main") as folder:
        journal = Journal(folder, JournalOptions(sync="never", segment_bytes=SEGMENT, min_free=0), Clock())
        lines = b'{"type":"waits","payload":"%s"}\n' % (b"x" * 200) * 400
        record = encode_record(1, 400, b"test://", b"", lines)
        for _ in range(segments):
            for _ in range(SEGMENT // len(record)):
                journal.append(record)
        journal.close()
        journal.release()
    assert len(list((data / "journal/main").glob("*.seg"))) == segments


def start(made: Listener) -> Cost:
    """Starts it, lets it take a request, and asks the kernel what that has cost."""
    assert made.start(), made.told.read_text()
    client = Client(count=1)
    assert client.submit(made.port("http"))
    wait_for(lambda: made.outputs())
    (output,) = made.outputs()
    wait_for(lambda: "refused" in str(made.status()["outputs"]["http"].get("error", "")).lower(), 30)
    io = Path(f"/proc/{made.pid}/io").read_text()
    read = re.search(r"rchar: (\d+)", io)
    assert read is not None
    return Cost(int(read[1]), memory(made.pid), files(made.pid), memory(output), files(output))


def memory(pid: int) -> int:
    """Bytes that a process has had at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_start_costs_the_same_with_a_large_backlog(listener: Make, dead_port: int) -> None:
    costs = []
    for segments in (2, 100):
        made = listener(f"with-{segments}")
        made.config.write_text(DEAD.format(data=made.data, port=dead_port))
        backlog(made.data, segments)
        assert made.start(), made.told.read_text()  # the first one notes which submissions are known, and is killed
        wait_for(lambda made=made: (made.data / "journal/main/keys").exists())
        made.kill()
        costs.append(start(made))
        assert made.metric("metlog_journal_segments") >= segments
        made.kill()
    small, large = costs
    assert large.read - small.read < SEGMENT, costs  # of 200 MB; a segment's half is 1 MB
    assert large.memory - small.memory < 16 << 20, costs
    assert large.output_memory - small.output_memory < 64 << 20, costs
    assert large.files - small.files <= 2, costs
    assert large.output_files - small.output_files <= 2, costs
