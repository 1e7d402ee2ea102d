"""The commands under attack, as processes: where they listen, what they take, how they end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.waiting import wait_for

__all__ = ["Program"]


class Program:
    """A process of `metlog`."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self._log = folder / f"{name}.txt"
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "metlog", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(lambda: "ready" in self.told() or self._process.poll() is not None, 60)
        assert self._process.poll() is None, self.told()
        self._children: dict[int, int] = {}

    @classmethod
    def listener(cls, folder: Path, data: Path) -> Program:
        return cls(
            "listener",
            ["listen", "--data", str(data), *(part for kind in ("udp", "http", "statsd") for part in (f"--{kind}", "127.0.0.1:0")),
             "--zmq", "tcp://127.0.0.1:*"],
            folder,
        )  # fmt: skip

    @classmethod
    def page(cls, data: Path) -> Program:
        return cls("page", ["serve", "--data", str(data), "--port", "0"], data.parent)

    def told(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def port(self, kind: str) -> int:
        pattern = {"page": r"page is at http://127\.0\.0\.1:(\d+)", "zmq": r"tcp://127\.0\.0\.1:(\d+)"}.get(
            kind, rf"{kind}://127\.0\.0\.1:(\d+)"
        )
        found = re.search(pattern, self.told())
        assert found, (kind, self.told())
        return int(found[1])

    def settle(self) -> None:
        """Returns when the kernel holds no more datagrams for it."""
        wait_for(lambda: not any(_queued(self.port(kind)) for kind in ("udp", "statsd")), 120)
        time.sleep(0.05)

    def cpu(self) -> float:
        """Seconds that it has used, without its children."""
        parts = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> int:
        """Bytes of memory that it has had at most."""
        return _peak(self._process.pid)

    def peak_of_children(self) -> int:
        found = 0
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if (
                    entry.name.isdigit()
                    and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == self._process.pid
                ):
                    found = max(found, _peak(int(entry.name)))
        return found

    def status(self) -> int | None:
        return self._process.poll()

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10 if found else 0


def _queued(port: int) -> int:
    ending = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(ending))
