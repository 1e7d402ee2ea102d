"""How long the page takes over ten million events: each report and the other pages, from a process of its own, over HTTP.

    python benchmarks/page.py [--events 10000000] [--days 30] [--data DIR] [--limit 2.0] [--later 3] [--only WORD]

The data is made once and kept when --data names a folder. "answer" is how long a browser's first request of its kind after the
start of `metlog serve` takes. The answer is the page with its result, the page without its counts, or the page that waits.
"first" is the time until all of it is there, "later" that of the best of --later more, each with parameters of its own so that
the page has none of them in its cache. "CPU" is what the page and its engine together spent on the first, all threads: on a
machine with two idle cores the time is between a half and the whole of it, and unlike the time it says little about who else is
using the machine. The overview is kept for up to a minute, so that its later requests cost nothing.
With --limit the exit status is 1 when an answer takes longer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from metlog.lake.query import Lake
from metlog.reports.sample import fill

PER_REQUEST = 3.52
"""Events of the sample data for each of its requests."""


@contextlib.contextmanager
def served(data: Path) -> Iterator[tuple[str, int]]:
    """The address of `metlog serve`, and its process."""
    command = [sys.executable, "-m", "metlog", "serve", "--data", str(data), "--port", "0", "--timeout", "300"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().rsplit(" ", 1)[1].strip().rstrip("/")
        process.stdout.readline()
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(20)


def cpu(process: int) -> float:
    """Seconds of CPU that a process and its children have spent; those of ended children count once they are waited for."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone since it was listed
            values = status.read_text().rpartition(")")[2].split()
            if int(values[1]) == process or int(status.parent.name) == process:
                ticks += int(values[11]) + int(values[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def timed(url: str, process: int) -> tuple[float, float, float]:
    """Seconds until a browser has an answer, seconds until it has all of it, and seconds of CPU."""
    spent, began, answered = cpu(process), time.perf_counter(), 0.0
    while True:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"accept": "text/html"}), timeout=300
        ) as answer:
            text = answer.read()
            answered = answered or time.perf_counter() - began
        job = re.search(rb'data-(?:job|counting)="([^"]+)"', text)
        if job is None:
            return answered, time.perf_counter() - began, cpu(process) - spent
        running = urllib.parse.urljoin(url, job[1].decode())
        while True:  # as the page's scripts do
            time.sleep(0.1)
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(running, timeout=300) as answer:
                if json.load(answer)["state"] == "running":
                    continue
            break


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=float)
    parser.add_argument("--later", type=int, default=3, help="requests after the first")
    parser.add_argument("--only", default="", help="pages whose name has this word")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without the page that it started
    with contextlib.ExitStack() as stack:
        data = arguments.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metlog-bench-")))
        data.mkdir(parents=True, exist_ok=True)
        if not (data / "events").is_dir():
            fill(data, arguments.days, per_day=int(arguments.events / arguments.days / PER_REQUEST))
        with Lake(data) as lake:
            count = lake.query("SELECT count(*) FROM events").rows[0][0]
        print(f"{count:,} events in {arguments.days} days")
        slow = []
        with served(data) as (address, process):
            with urllib.request.urlopen(f"{address}/api/reports") as answer:
                reports = [report["name"] for report in json.load(answer)["reports"]]
            pages = [(f"report {name}", f"/reports/{name}?since={arguments.days}d&until=") for name in reports]
            pages += [
                ("overview, 30 days", "/?since=30d&_="),
                ("search, newest 50", f"/events?since={arguments.days}d&until="),
                ("search in text", f"/events?since={arguments.days}d&q=Timeout&until="),
            ]
            print(f"{'':32}{'answer':>9}{'first':>9}{'later':>9}{'CPU':>9}")
            now = time.time()
            for name, path in pages:
                if arguments.only not in name:
                    continue
                times = []
                for number in range(1 + arguments.later):
                    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - number))
                    times.append(timed(address + path + moment, process))
                answered, first, spent = times[0]
                best = min(whole for _, whole, _ in times[1:] or times)
                print(f"{name:32}{answered:8.2f}s{first:8.2f}s{best:8.2f}s{spent:8.2f}s", flush=True)
                if arguments.limit and answered > arguments.limit:
                    slow.append(name)
    for name in slow:
        print(f"{name} took longer than {arguments.limit} s", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
