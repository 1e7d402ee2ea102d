"""A transport that cannot even carry the envelope of an event."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from metlog import MetlogClient
from metlog.senders.memory import MemorySender
from metlog.testing import client_with

sender = MemorySender(max_frame=64)
sender.max_event = 100  # bytes: a radio's, say
client = client_with(sender)
for number in range(3):
    client.log("reading", "x" * 50)
client.flush(1)
client.close(1)
stats = client.stats()
assert all(len(frame) <= 100 for frame in sender.frames)
assert stats.sent + sum(stats.dropped.values()) == 3, stats
"""


@pytest.mark.xfail(
    strict=True, reason="Buffer._truncate loops for ever when nothing is left to cut", raises=subprocess.TimeoutExpired
)
def test_an_event_that_cannot_be_cut_to_fit_is_dropped_and_counted_and_nothing_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=6)
    assert done.returncode == 0, done.stderr
