"""Upkeep of a data set with kills at random, beside queries: every query right, nothing lost or twice.

    python -m tests.system.upkeep.killing --queries 20000 --days 30 --seed 1

Ends with 0 when every query was right. `--seconds` ends it earlier. Days come to an end and new ones begin, and late events come for days
that were merged before. Each round kills one upkeep at one named point; the events that the folder should hold are known
from a model, which the end of each round is compared with.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from metlog.journal import failpoints
from metlog.lake.query import Lake
from tests.helpers.lakes import FIRST_DAY, make_lake, table

POINTS = [point for point in failpoints.UPKEEP_POINTS if not point.startswith("forget.")]
ASK = "SELECT count(*)::INT, count(DISTINCT fields->>'n')::INT, coalesce(sum((fields->>'n')::BIGINT), 0)::BIGINT FROM events"


class History:
    """The answers that are right, in order; those from `settled` on are possible now."""

    def __init__(self, answer: tuple[int, int, int]) -> None:
        self.answers = [answer]
        self.settled = 0

    def add(self, *answers: tuple[int, int, int]) -> None:
        self.answers += answers

    def settle(self) -> None:
        """What is under way has ended: only the last answer is possible."""
        self.settled = len(self.answers) - 1


class Asking:
    """Threads that ask the same question all the time; an answer must be one that was possible while the query ran."""

    def __init__(self, data: Path, history: History, threads: int) -> None:
        self.data, self.history = data, history
        self.asked, self.wrong = 0, list[object]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with Lake(self.data, threads=1) as lake:
            while not self._stop.is_set():
                since = self.history.settled
                found = lake.query(ASK).rows[0]
                self.asked += 1
                if found not in self.history.answers[since:]:
                    self.wrong.append((found, self.history.answers[since:]))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def run(
    *,
    queries: int,
    days: int,
    seed: int,
    events: int = 40,
    threads: int = 2,
    seconds: float = float("inf"),
    tell: Callable[[str], object] = lambda text: None,
) -> tuple[int, int, list[object]]:
    """Returns how many queries were asked, how many upkeeps were killed, and what was wrong."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="metlog-killing-") as folder:
        data = Path(folder)
        model = _Model(make_lake(data, days=days, files=4, events=events), days, 4 * events)
        history = History(model.answer())
        asking = Asking(data, history, threads)
        killed, problems = 0, list[object]()
        ends = time.monotonic() + seconds
        try:
            while asking.asked < queries and not asking.wrong and not problems and time.monotonic() < ends:
                arguments, change = model.next(chance, data)
                states = change()  # a day after the other: each day at once
                history.add(*states)
                after = states[-1]
                for point in (chance.choice(POINTS), ""):
                    fault = {"METLOG_FAULT": point} if point else {}
                    command = [sys.executable, "-m", "metlog", *arguments, "--data", str(data)]
                    done = subprocess.run(
                        command, env={**os.environ, **fault}, capture_output=True, text=True, timeout=120, start_new_session=True,
                        check=False,
                    )  # fmt: skip
                    killed += done.returncode == -9
                    if done.returncode not in {0, -9}:
                        problems.append((arguments, done.returncode, done.stderr))
                history.settle()
                with Lake(data) as lake:
                    if (found := lake.query(ASK).rows[0]) != after:
                        problems.append(("at the end of a round", arguments, found, after))
                if arguments[0] == "expire":
                    model.add_day(data, history, events)
                model.add_late(chance, data, history)
                tell(f"{asking.asked:,} queries, {killed} upkeeps killed")
        finally:
            asking.stop()
        return asking.asked, killed, [*asking.wrong, *problems]


class _Model:
    """Which numbers the data set should hold."""

    def __init__(self, count: int, days: int, a_day: int) -> None:
        self.of_day = {FIRST_DAY + timedelta(days=n): set(range(n * a_day, (n + 1) * a_day)) for n in range(days)}
        self._next, self._file = count, 900_000

    def answer(self) -> tuple[int, int, int]:
        numbers = [n for found in self.of_day.values() for n in found]
        return len(numbers), len(set(numbers)), sum(numbers)

    def next(self, chance: random.Random, data: Path):  # type: ignore[no-untyped-def]  # a command and what it changes
        kind = chance.choice(["compact", "compact", "expire", "forget"])
        if kind == "compact":
            return ["compact", "--fewest", "2"], lambda: [self.answer()]
        if kind == "forget":
            user = chance.randrange(50)

            def forgotten() -> list[tuple[int, int, int]]:
                states = [self.answer()]
                for day in sorted(self.of_day):
                    self.of_day[day] -= {n for n in self.of_day[day] if n % 50 == user}
                    states.append(self.answer())
                return states

            return ["forget", "--where", f"fields->>'user' = 'u{user}'"], forgotten
        oldest = min(day for day, found in self.of_day.items() if found)
        midnight = datetime(oldest.year, oldest.month, oldest.day, tzinfo=UTC) + timedelta(days=1)
        age = int((datetime.now(UTC) - midnight).total_seconds())

        def expired() -> list[tuple[int, int, int]]:
            states = [self.answer()]
            for day in sorted(self.of_day):
                if day <= oldest:
                    self.of_day[day] = set()
                    states.append(self.answer())
            return states

        return ["expire", "--older-than", f"{age}s"], expired

    def add_late(self, chance: random.Random, data: Path, history: History) -> None:
        """New files of a day that was merged before, as late events make them: by rename, as the listener writes."""
        day = chance.choice([day for day, found in self.of_day.items() if found] or [max(self.of_day)])
        self._add(data, history, day, files=3, events=20)

    def add_day(self, data: Path, history: History, events: int) -> None:
        """The next day of traffic."""
        day = max(self.of_day) + timedelta(days=1)
        self.of_day[day] = set()
        self._add(data, history, day, files=4, events=events)

    def _add(self, data: Path, history: History, day: date, *, files: int, events: int) -> None:
        for _ in range(files):
            numbers = range(self._next, self._next + events)
            self._next, self._file = self._next + events, self._file + 1
            folder = data / "events" / f"date={day}"
            folder.mkdir(exist_ok=True)
            temporary, name = folder / f".{self._file}.tmp", folder / f"{self._file:012d}-late.parquet"
            pq.write_table(table(numbers, day, self._file), temporary)
            self.of_day[day] |= set(numbers)
            history.add(self.answer())
            temporary.rename(name)
        history.settle()


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="end after so long, whatever was asked by then"
    )
    asked = parser.parse_args()
    queries, killed, wrong = run(
        queries=asked.queries, days=asked.days, seed=asked.seed, seconds=asked.seconds, tell=tell
    )
    print(f"{queries} queries, {killed} upkeeps killed, {len(wrong)} wrong")
    for problem in wrong[:5]:
        print(problem)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
