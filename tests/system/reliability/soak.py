"""The soak: two chained listeners under load, killed with SIGKILL at random moments, and judged from outside.

    python -m tests.system.reliability.soak --kills 200

The first listener takes HTTP and UDP and has three outputs: the lake, a file, and HTTP to the second listener, which has the
lake and a file. Killed is, at random moments that include their starts: the first listener alone, it and the processes of its
outputs, one of these processes, or the second listener. Then comes a phase without faults, and the judge: it knows the number
and the payload of every event that was sent, reads the bare Parquet files and lines, and demands of each of the four places that

- every event that was acknowledged (201) is there exactly once, with its payload;
- nothing is there that was not sent;
- of each run of a listener (its name is part of the names of its files) there are as many events as it said it had journaled;
- of the numbers that came over UDP in one run none is missing between the first and the last.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb

from metlog.lake.query import open_lake
from tests.helpers.ports import free_port
from tests.helpers.reliability import Client, Listener, datagram, ends_with, faults_in, in_file, in_lake, lines
from tests.helpers.waiting import eventually, wait_for

HTTP_CLIENTS = 2
SPAN = 100_000_000
"""Numbers of each sender: HTTP client k sends from k times this on, UDP from HTTP_CLIENTS times this."""
UDP_FIRST = HTTP_CLIENTS * SPAN
FRESH = (HTTP_CLIENTS + 1) * SPAN

FORWARD = """
[[outputs]]
name = "http"
port = {port}
path = "/submit/chain"
batch_age = 0.02
batch_events = 200
timeout = 5
"""


class Load:
    """What sends and what asks, in threads, while the listeners come and go."""

    def __init__(self, first: Listener) -> None:
        self._first = first
        self._stop = threading.Event()
        self.clients = [Client(k * SPAN, count=20) for k in range(HTTP_CLIENTS)]
        self.udp_next = UDP_FIRST
        self.journaled: dict[str, int] = defaultdict(int)
        """By run: the most events that it has said it had journaled."""
        self.kernel_drops = 0
        targets = [*(lambda client=client: self._submit(client) for client in self.clients), self._datagrams, self._ask]
        self._threads = [threading.Thread(target=self._loop, args=(target,), daemon=True) for target in targets]
        for thread in self._threads:
            thread.start()

    def _loop(self, work: Any) -> None:
        while not self._stop.is_set():
            if not self._first.addresses:
                time.sleep(0.005)
                continue
            try:
                work()
            except (OSError, http.client.HTTPException, StopIteration):  # it was killed meanwhile
                time.sleep(0.005)

    def _submit(self, client: Client) -> None:
        client.submit(self._first.port("http"))
        time.sleep(0.002)

    def _datagrams(self) -> None:
        address = ("127.0.0.1", self._first.port("udp"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(address)  # so that a refusal is heard
            for _ in range(20):
                numbers = range(self.udp_next, self.udp_next + 10)
                self.udp_next += 10  # sent or not: they are not sent again
                sock.send(lines(numbers))
                time.sleep(0.005)

    def _ask(self) -> None:
        _, text = self._first.ask("/metrics")
        run = re.search(r'^metlog_journal_info\{run="(\w+)"\} 1$', text, re.MULTILINE)
        journaled = re.search(r"^metlog_events_journaled_total (\d+)$", text, re.MULTILINE)
        drops = re.search(r'^metlog_input_kernel_drops_total\{input="udp"\} (\d+)$', text, re.MULTILINE)
        if run and journaled and drops:
            self.journaled[run[1]] = max(self.journaled[run[1]], int(journaled[1]))
            self.kernel_drops = max(self.kernel_drops, int(drops[1]))
        time.sleep(0.01)

    @property
    def acknowledged(self) -> set[int]:
        return set().union(*(client.acknowledged for client in self.clients))

    @property
    def sent(self) -> set[int]:
        return {n for client in self.clients for n in range(client.first, client.next)} | set(
            range(UDP_FIRST, self.udp_next)
        )

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Soak:
    """The listeners, the load, and the hand that kills."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        port = free_port()
        self.second = Listener(folder / "second", segment_bytes=32_768, http_port=port)
        self.first = Listener(folder / "first", segment_bytes=32_768, more=FORWARD.format(port=port))
        self.kills: Counter[str] = Counter()
        self.looks = 0

    def run(self, kills: int) -> dict[str, Any]:
        """Kills so often, lets it come to rest, and judges; `wrong` of what it gives is empty when all is well."""
        began = time.monotonic()
        assert self.second.start()
        assert self.first.start()
        load = Load(self.first)
        wrong = []
        try:
            for turn in range(kills):
                self._kill()
                if turn % 10 == 9:
                    wrong += self._look(load)
            # The phase without faults.
            wait_for(lambda: self.first.alive and self.first.addresses)
            time.sleep(0.5)
        finally:
            load.stop()
        for client in load.clients:
            client.settle(self.first.port("http"))
        datagram(self.first.port("udp"), lines([FRESH]))
        arrived = self._caught_up()
        statuses = [made.stop() for made in (self.first, self.second)]
        wrong += [] if arrived else ["a fresh event did not arrive"]
        wrong += [] if statuses == [0, 0] else [f"the listeners ended with {statuses}"]
        wrong += self._judge(load)
        return {
            "kills": sum(self.kills.values()),
            "killed": dict(self.kills),
            "seconds": round(time.monotonic() - began),
            "acknowledged": len(load.acknowledged),
            "repeated requests": sum(client.requests for client in load.clients)
            - sum(client.statuses[201] for client in load.clients),
            "over UDP": len({n for n, _ in in_lake(self.first.data) if UDP_FIRST <= n < FRESH}),
            "kernel drops": load.kernel_drops,
            "runs": len(load.journaled),
            "parquet files": sum(1 for made in self._both for _ in made.data.glob("events/*/*.parquet")),
            "looks": self.looks,
            "wrong": wrong,
        }

    def _caught_up(self) -> bool:
        """Waits for the fresh event, the last of all, in both files; for as long as they grow."""
        size = -1
        while not eventually(lambda: all(ends_with(made.lines, FRESH) for made in self._both), 60):
            if (now := sum(made.lines.stat().st_size for made in self._both)) == size:
                return False
            size = now
        return True

    @property
    def _both(self) -> tuple[Listener, Listener]:
        return self.first, self.second

    def _kill(self) -> None:
        """One kill at a random moment, and the start of what it ended."""
        victim = self._random.choices(
            ("first", "first with its outputs", "an output of the first", "second"), (35, 30, 15, 20)
        )[0]
        time.sleep(self._random.choice([0.0, 0.1, 0.4, 1.0]) * self._random.random())
        self.kills[victim] += 1
        if victim == "an output of the first":
            if pids := self.first.outputs():
                os.kill(self._random.choice(pids), signal.SIGKILL)
            return
        made = self.second if victim == "second" else self.first
        made.kill(group=victim != "first")
        made.spawn()
        while self._random.random() < 0.25:  # once more, while it starts
            time.sleep(self._random.random() * 0.5)
            self.kills["at a start"] += 1
            made.kill(group=self._random.random() < 0.5)
            made.spawn()
        assert made.ready(), made.told.read_text()

    def _look(self, load: Load) -> list[str]:
        """As a user does, in the middle of it all: what was acknowledged is seen, once."""
        self.looks += 1
        known = load.acknowledged
        sql = "SELECT CAST(fields->>'n' AS BIGINT) FROM events WHERE type = 'numbered'"
        with open_lake(self.first.data) as lake:
            counts = Counter(row[0] for row in lake.query(sql).rows)
        twice = [n for n, count in counts.items() if count > 1]
        missing = sorted(known - set(counts))
        return ([f"a query saw {len(twice)} twice: {twice[:5]}"] if twice else []) + (
            [f"a query did not see {len(missing)} that were acknowledged: {missing[:5]}"] if missing else []
        )

    def _judge(self, load: Load) -> list[str]:
        wanted, sent = load.acknowledged | {FRESH}, load.sent | {FRESH}
        wrong = []
        for made in self._both:
            name = made.data.parent.name
            lake = in_lake(made.data)
            wrong += [f"lake of the {name}: {text}" for text in faults_in(lake, wanted, sent)]
            wrong += [f"file of the {name}: {text}" for text in faults_in(in_file(made.lines), wanted, sent)]
            left = [*made.journaled(), *made.data.parent.rglob("*.tmp")]
            wrong += [f"{path} was left over" for path in left]
        everywhere = [{n for n, _ in in_lake(made.data)} for made in self._both]
        everywhere += [{n for n, _ in in_file(made.lines)} for made in self._both]
        if any(found != everywhere[0] for found in everywhere):
            wrong.append(f"the four places hold {[len(found) for found in everywhere]} events, not the same ones")
        return wrong + self._judge_runs(load)

    def _judge_runs(self, load: Load) -> list[str]:
        sql = (
            "SELECT regexp_extract(filename, '-(\\w+)\\.parquet$', 1), CAST(fields->>'n' AS BIGINT) "
            "FROM read_parquet(?, filename = true)"
        )
        by_run: dict[str, list[int]] = defaultdict(list)
        rows = duckdb.connect().execute(sql, [f"{self.first.data}/events/date=*/*.parquet"]).fetchall()
        for run, n in rows:
            by_run[run].append(n)
        wrong = [
            f"run {run} said that it had journaled {count} events; {len(by_run[run])} are there"
            for run, count in load.journaled.items()
            if len(by_run[run]) < count
        ]
        for run, numbers in by_run.items():
            udp = sorted(n for n in numbers if UDP_FIRST <= n < FRESH)
            if udp and not load.kernel_drops and udp[-1] - udp[0] + 1 != len(udp):
                wrong.append(f"run {run} has gaps among what came over UDP: {len(udp)} of {udp[-1] - udp[0] + 1}")
        return wrong

    def close(self) -> None:
        for made in self._both:
            made.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how often something is killed, at least")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    parser.add_argument("--keep", action="store_true", help="keep the folder also when all is well")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="metlog-soak-"))
    print(f"seed {options.seed}, folder {folder}", flush=True)
    soak = Soak(folder, options.seed)
    try:
        found = soak.run(options.kills)
    finally:
        soak.close()
    print(json.dumps(found, indent=2))
    if not found["wrong"] and not options.keep:
        shutil.rmtree(folder)
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
