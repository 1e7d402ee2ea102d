"""The kill run: `python -m tests.system.cluster.kill --help`.

Three listeners in one consumer group write into one data set while events come at a steady rate. Listeners are killed (SIGKILL) at
random moments and started again; now and then all of them are killed and the group is set back to the beginning. In the end SQL says
how many events are missing, and how many are there more than once. Both must be 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.system.cluster.servers import ACCESS, Listener, broker, poll, seaweed, set_back, uri_of

TOPIC = "events"
GROUP = "metlog"


@dataclass
class Outcome:
    """What a run found."""

    sent: int = 0
    rows: int = 0
    distinct: int = 0
    kills: int = 0
    resets: int = 0
    repeated_reads: int = 0
    files: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return self.sent - self.distinct

    @property
    def twice(self) -> int:
        return self.rows - self.distinct


def config(address: str, uri: str, *, assignment: str, segment_age: float) -> str:
    return f"""
[listener]
drain_timeout = 30

[journal]
segment_age = {segment_age}

[[inputs]]
name = "kafka"
brokers = ["{address}"]
topic = "{TOPIC}"
group = "{GROUP}"
assignment = "{assignment}"
commit_interval = 0.5
"session.timeout.ms" = 3000
"heartbeat.interval.ms" = 500

[[outputs]]
name = "lake"
uri = "{uri}"
"""


def data_of(uri: str) -> Path:
    """The data folder through which the data set is read."""
    from metlog.lake.attached import folder_for

    os.environ.update(ACCESS)
    return folder_for(uri) if uri.startswith("s3:") else Path(uri.removeprefix("file://"))


def count(uri: str, sql: str) -> tuple[Any, ...]:
    """What SQL says of the data set, over its Parquet files alone."""
    from metlog.lake.query import Lake

    with Lake(data_of(uri)) as lake:
        return tuple(lake.query(sql).rows[0])


TOTALS = "SELECT count(*), count(DISTINCT (stream, seq)) FROM events"


@contextlib.contextmanager
def storage(kind: str, folder: Path) -> Iterator[str]:
    """The data set's URI."""
    if kind == "local":
        (folder / "lake").mkdir()
        yield f"file://{folder}/lake"
        return
    with seaweed(folder) as endpoint:
        yield uri_of(endpoint)


def run(
    folder: Path, *, store: str, rate: int, seconds: float, kills: int, resets: int, listeners: int = 3, partitions: int = 6,
    assignment: str = "cooperative-sticky", segment_age: float = 2.0, seed: int = 0, told: Any = print,
) -> Outcome:  # fmt: skip
    chance = random.Random(seed)
    outcome = Outcome()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(broker(folder, {TOPIC: partitions}))
        uri = stack.enter_context(storage(store, folder))
        text = config(address, uri, assignment=assignment, segment_age=segment_age)
        group = [
            Listener(
                folder / f"listener-{number}", text, "--data", str(folder / f"listener-{number}" / "data"), env=ACCESS
            )
            for number in range(listeners)
        ]
        stack.callback(lambda: [item.process and item.process.poll() is None and item.kill() for item in group])
        for item in group:
            item.start(wait=0)
        producer = subprocess.Popen(
            [sys.executable, "-m", "tests.system.cluster.produce", address, TOPIC, str(rate), str(seconds + 3600), "12"],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        )  # fmt: skip
        stack.callback(producer.kill)
        poll(lambda: all([item._ready() for item in group]), 60, "all listeners are ready")
        moments = sorted(chance.uniform(1, seconds) for _ in range(kills))
        set_backs = [seconds * (number + 1) / (resets + 1) for number in range(resets)]
        start = time.monotonic()
        behind = 0.0  # what set-backs took
        while moments or set_backs:
            now = time.monotonic() - start - behind
            if set_backs and now >= set_backs[0]:
                set_backs.pop(0)
                paused = time.monotonic()
                for item in group:
                    item.kill()
                outcome.kills += len(group)
                set_back(address, GROUP, {TOPIC: partitions}, assignment)
                outcome.resets += 1
                for item in group:
                    item.start(wait=0)
                behind += time.monotonic() - paused
                told(f"{now:6.1f} s: all killed, the group set back to the beginning (no. {outcome.resets})")
            elif moments and now >= moments[0]:
                moments.pop(0)
                victim = chance.choice(group)
                victim.kill()
                outcome.kills += 1
                time.sleep(chance.choice([0, 0, 0.3, 2.0]))
                victim.start(wait=0)
            else:
                time.sleep(0.05)
        producer.send_signal(signal.SIGTERM)
        line, _ = producer.communicate(timeout=120)
        sent: dict[str, int] = json.loads(line)["streams"]
        outcome.sent = sum(sent.values())
        told(
            f"{time.monotonic() - start:6.1f} s: {outcome.sent:,} events sent, {outcome.kills} kills, {outcome.resets} set-backs"
        )
        _settled(group, uri, outcome, told)
        for item in group:
            outcome.repeated_reads += item.status().get("delivery", {}).get("repeated", 0)
            if item.stop() != 0:
                outcome.wrong.append(f"{item.folder} ended badly: {item.errors()}")
        outcome.rows, outcome.distinct = count(uri, TOTALS)
        outcome.wrong += _by_stream(uri, sent)
    outcome.seconds = time.monotonic() - began
    return outcome


def _settled(group: list[Listener], uri: str, outcome: Outcome, told: Any) -> None:
    """Waits until the data set has as many different events as were sent; a loss ends it after some time without progress."""
    best, since = -1, time.monotonic()
    while True:
        try:
            found = count(uri, TOTALS)[1]
        except (FileNotFoundError, OSError):
            found = 0
        if found >= outcome.sent:
            return
        if found > best:
            best, since = found, time.monotonic()
        elif time.monotonic() - since > 60:
            outcome.wrong.append(
                f"{outcome.sent - found} events do not come: {[item.status().get('outputs') for item in group]}"
            )
            return
        told(f"        {found:,} of {outcome.sent:,} in the data set")
        time.sleep(3)


def _by_stream(uri: str, sent: dict[str, int]) -> list[str]:
    """Every stream whole, by its own numbers."""
    from metlog.lake.query import Lake

    with Lake(data_of(uri)) as lake:
        sql = "SELECT stream, count(*), count(DISTINCT seq), min(seq), max(seq) FROM events GROUP BY stream"
        found = {row[0]: tuple(row[1:]) for row in lake.query(sql).rows}
    return [
        f"stream {name}: {number} sent, rows, distinct, first, last = {found.get(name)}"
        for name, number in sent.items()
        if number and found.get(name) != (number, number, 1, number)
    ]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--store", choices=["local", "s3"], default="s3")
    options.add_argument("--rate", type=int, default=20_000, help="events a second")
    options.add_argument("--seconds", type=float, default=150, help="how long kills go on")
    options.add_argument("--kills", type=int, default=50, help="single listeners killed, at random")
    options.add_argument("--resets", type=int, default=5, help="times that all are killed and the group is set back")
    options.add_argument("--listeners", type=int, default=3)
    options.add_argument("--partitions", type=int, default=6)
    options.add_argument("--assignment", default="cooperative-sticky")
    options.add_argument("--segment-age", type=float, default=2.0)
    options.add_argument("--seed", type=int, default=None)
    given = options.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="metlog-kill-") as folder:
        outcome = run(
            Path(folder), store=given.store, rate=given.rate, seconds=given.seconds, kills=given.kills, resets=given.resets,
            listeners=given.listeners, partitions=given.partitions, assignment=given.assignment, segment_age=given.segment_age,
            seed=seed, told=lambda text: print(text, flush=True),
        )  # fmt: skip
    print(
        f"{outcome.kills} kills, {outcome.resets} set-backs, {outcome.repeated_reads:,} reads for the second time (since the last starts)"
    )
    print(
        f"sent {outcome.sent:,}, in the data set {outcome.rows:,}, lost {outcome.lost}, twice {outcome.twice}, in {outcome.seconds:.0f} s"
    )
    for line in outcome.wrong:
        print(line)
    return 1 if outcome.lost or outcome.twice or outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
