"""After a burst a listener and the processes of its outputs hold little more than before it."""

from __future__ import annotations

import gzip
import http.client
import os
from collections.abc import Callable
from pathlib import Path

from tests.helpers.reliability import Listener
from tests.helpers.waiting import wait_for

Make = Callable[..., Listener]

EVENTS = b"".join(
    b'{"type":"a","payload":"%s","fields":{"n":%d,"l":[1,[2],{"a":3}]}}\n' % (b"x" * 300, n) for n in range(20_000)
)
"""7 MB."""


def resident(made: Listener) -> dict[str, int]:
    """Bytes of the listener and of each output's process, by what it does."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getpgid(int(folder.name)) == made.pid:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                pages = int((folder / "statm").read_text().split()[1])
                name = "listener" if int(folder.name) == made.pid else f"output {folder.name}"
                found[name if b"metlog.lake.careful" not in command else "careful"] = pages * os.sysconf("SC_PAGESIZE")
        except (OSError, ValueError):  # it has ended
            continue
    return found


def submit(made: Listener, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", made.port("http"), timeout=60)
    connection.request(
        "POST",
        "/submit/burst",
        gzip.compress(body, 1),
        {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"},
    )
    assert connection.getresponse().status == 201
    connection.close()


def test_within_thirty_seconds_at_most_1_3_times_what_was_held_before(listener: Make) -> None:
    made = listener(segment_bytes=64 << 20)
    assert made.start()
    submit(made, EVENTS[: EVENTS.find(b"\n", 400_000) + 1])  # everything has been used once
    wait_for(lambda: list((made.data / "events").glob("*/*.parquet")))
    wait_for(lambda: made.status()["outputs"]["file"].get("behind_seconds") == 0)
    before = resident(made)
    for _ in range(8):
        submit(made, EVENTS)
    wait_for(lambda: made.status()["outputs"]["lake"]["events"] >= 160_000, 120)
    wait_for(lambda: made.status()["outputs"]["file"]["events"] >= 160_000, 120)

    def grown() -> dict[str, float]:
        after = resident(made)
        return {name: round(after[name] / before[name], 2) for name in before if after[name] > 1.3 * before[name]}

    wait_for(lambda: not grown(), 30, every=0.5)
    print({name: (before[name] >> 20, size >> 20) for name, size in resident(made).items()})
