"""A transport that cannot even carry the envelope of an event: nothing larger than it can carry is given to it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

PROGRAM = """
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
assert list(sender.frames) == []  # not even metlog's own report and end of the stream, which are larger too
assert stats.dropped == {"too_large": 3}, stats
"""


def test_an_event_that_cannot_be_cut_to_fit_is_dropped_and_counted_and_nothing_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
