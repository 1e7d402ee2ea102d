"""How long the page takes over ten million events: each report and the other pages, from a process of its own, over HTTP.

    python benchmarks/page.py [--events 10000000] [--days 30] [--data DIR] [--limit 2.0]

The data is made once and kept when --data names a folder. The first column is the first request of its kind after the start of
`metlog serve`, the second the best of three later ones, each with parameters of its own so that the page has none of them
in its cache.
With --limit the exit status is 1 when a report's first request takes longer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from metlog.lake.query import Lake
from metlog.reports.sample import fill

PER_REQUEST = 3.52
"""Events of the sample data for each of its requests."""


@contextlib.contextmanager
def served(data: Path) -> Iterator[str]:
    """The address of `metlog serve`."""
    command = [sys.executable, "-m", "metlog", "serve", "--data", str(data), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().rsplit(" ", 1)[1].strip().rstrip("/")
        process.stdout.readline()
        yield address
    finally:
        process.terminate()
        process.wait(20)


def timed(url: str) -> float:
    """Seconds until the whole answer is there."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=120) as answer:
        answer.read()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=float)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        data = arguments.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metlog-bench-")))
        data.mkdir(parents=True, exist_ok=True)
        if not (data / "events").is_dir():
            fill(data, arguments.days, per_day=int(arguments.events / arguments.days / PER_REQUEST))
        with Lake(data) as lake:
            count = lake.query("SELECT count(*) FROM events").rows[0][0]
        print(f"{count:,} events in {arguments.days} days")
        slow = []
        with served(data) as address:
            with urllib.request.urlopen(f"{address}/api/reports") as answer:
                reports = [report["name"] for report in json.load(answer)["reports"]]
            pages = [(f"report {name}", f"/reports/{name}?since={arguments.days}d&until=") for name in reports]
            pages += [
                ("overview, 30 days", "/?span=30d&_="),
                ("search, newest 50", f"/events?since={arguments.days}d&until="),
                ("search in text", f"/events?since={arguments.days}d&q=Timeout&until="),
            ]
            print(f"{'':32}{'first':>9}{'later':>9}")
            for name, path in pages:
                times = []
                for number in range(4):
                    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - number))
                    times.append(timed(address + path + moment))
                print(f"{name:32}{times[0]:8.2f}s{min(times[1:]):8.2f}s")
                if name.startswith("report") and arguments.limit and times[0] > arguments.limit:
                    slow.append(name)
    for name in slow:
        print(f"{name} took longer than {arguments.limit} s", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
