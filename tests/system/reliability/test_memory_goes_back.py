"""After a burst the listener and the lake's process hold at most 1.3 times what they held before it, other outputs some megabytes more."""

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
_BLOCKS = 24 << 20


def resident(made: Listener) -> dict[str, int]:
    """Bytes of the listener and of each output's process, by what it does."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and os.getpgid(int(folder.name)) == made.pid:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                pages = int((folder / "statm").read_text().split()[1])
                if b"metlog.lake.careful" in command:
                    continue
                lake = "libarrow" in (folder / "maps").read_text()
                name = "listener" if int(folder.name) == made.pid else "lake" if lake else "file"
                found[name] = pages * os.sysconf("SC_PAGESIZE")
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
        """What holds too much, in times of what it held. An output that needs 25 MB in all may keep what a block of the journal took."""
        after = resident(made)
        most = {name: size * 1.3 if name != "file" else size + _BLOCKS for name, size in before.items()}
        return {name: round(after[name] / before[name], 2) for name in before if after[name] > most[name]}

    assert set(before) == {"listener", "lake", "file"}
    wait_for(lambda: not grown(), 30, every=0.5)
    print({name: (before[name] >> 20, size >> 20) for name, size in resident(made).items()})
