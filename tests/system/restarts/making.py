"""Makes the data folder that the tests of upgrades start from, with the release whose Python is given: to be run once a release.

    python -m tests.system.restarts.making PYTHON tests/data/upgrades/RELEASE.tar.gz

The folder is that of a listener that was killed: a Parquet file, a sealed segment that one output has and another has not, an open one, the
cursors, known ids, dead letters; and the configuration that it ran with.
"""

from __future__ import annotations

import fcntl
import gzip
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tests.helpers.waiting import wait_for

STREAM: Final = "0123456789abcdef"
LAST: Final = 61
"""The events are numbered from 1 to here."""
CONFIG: Final = """
[journal]
segment_age = 0.5
min_free = 0

[[inputs]]
name = "udp"
port = 0

[[inputs]]
name = "http"
port = 0

[[outputs]]
name = "lake"

[[outputs]]
name = "http"
host = "127.0.0.1"
port = 9
path = "/down"
"""


def event(n: int) -> bytes:
    found = {
        "timestamp": f"2026-11-29T00:00:{n % 60:02d}.000001Z", "type": "numbered", "tokens": ["numbered", "old"], "severity": 6,
        "payload": f"event {n}", "fields": {"n": n, "nested": {"ä": [1, 2.5, None]}}, "seq": n, "stream": STREAM, "logger": "shop",
        "env_version": "1", "pid": 7, "hostname": "web-1",
    }  # fmt: skip
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def put(port: int, name: str, n: int) -> int:
    """Submits an event under an id; returns the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("PUT", f"/submit/shop/{name}", event(n))
        return connection.getresponse().status
    finally:
        connection.close()


class _Old:
    def __init__(self, python: str, folder: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
        command = [python, "-m", "metlog", "listen", "--data", "data", "--config", "listener.toml"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
        self.ports: dict[str, int] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready"):
                return
            scheme, _, rest = line.split()[-1].partition("://")
            self.ports[scheme] = int(rest.rpartition(":")[2])
        raise SystemExit("the listener did not start")

    def send(self, first: int, last: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            alone = range(first, last - 7)
            for frame in (
                *([n] for n in alone),
                range(last - 7, last + 1),
            ):  # events by themselves, and a frame of eight
                sock.sendto(b"".join(event(n) for n in frame), ("127.0.0.1", self.ports["udp"]))
            sock.sendto(b"no event at all", ("127.0.0.1", self.ports["udp"]))


def make(python: str, folder: Path) -> None:
    """Fills a folder with `data/` and `listener.toml`."""
    config = folder / "listener.toml"
    config.write_text(CONFIG, "utf-8")
    old = _Old(python, folder)
    old.send(1, 40)
    assert put(old.ports["http"], "first", 41) == 201
    wait_for(lambda: list((folder / "data" / "events").rglob("*.parquet")), 60)
    old.process.terminate()
    old.process.wait(60)
    config.write_text(CONFIG.replace("segment_age = 0.5", "segment_age = 300"), "utf-8")
    old = _Old(python, folder)
    old.send(42, 60)
    assert put(old.ports["http"], "second", LAST) == 201
    status = folder / "data" / "status.json"
    wait_for(lambda: json.loads(status.read_text())["intake"]["journaled"] == LAST - 41)
    try:
        wait_for(
            lambda: all(out.keys() & {"at", "error"} for out in json.loads(status.read_text())["outputs"].values()), 60
        )
    finally:
        old.process.kill()
        old.process.wait()
    for lock in (folder / "data" / "journal" / "main" / "cursors").glob("*.lock"):
        with lock.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # until the output's process has noticed


def pack(folder: Path, archive: Path) -> None:
    """Writes the regular files of a folder to a `.tar.gz`, with nothing of the machine in it."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".lock":
                member = tarfile.TarInfo(str(path.relative_to(folder)))
                content = path.read_bytes()
                member.size, member.mode = len(content), 0o640
                tar.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="metlog-making-") as made:
        make(sys.argv[1], Path(made))
        pack(Path(made), Path(sys.argv[2]))
