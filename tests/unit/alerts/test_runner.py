"""Notices that wait: when they are told by a clock that was wrong, and for how long."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from metlog.alerts import runner
from metlog.alerts.config import AlertSettings, alerts_of
from metlog.alerts.runner import Alerts
from metlog.alerts.states import Letter, State, Store
from metlog.alerts.targets import BaseTarget, Notice
from metlog.errors import Problems
from metlog.lake.result import Result
from metlog.lake.values import Column
from tests.helpers.waiting import wait_for

NOW = 1_790_000_000.0
YEARS = 10 * 365 * 86_400.0


def notice(at: str = "2026-09-21T14:13:20Z") -> Notice:
    return Notice(
        id="errors-1", alert="errors", kind="firing", state="firing", text="it fires", severity=3, when="value > 1", value=2.0,
        row={}, at=at, since=at,
    )  # fmt: skip


def waiting(folder: Path, *letters: Letter) -> Alerts:
    """Alerts whose states are loaded, without their threads."""
    made = Alerts(AlertSettings(), "listener-main", data=folder, engine=lambda: pytest.fail("nobody asks"))
    made._store = Store(folder, "listener-main")
    made._states = {"errors": State(name="errors", outbox=list(letters))}
    return made


def test_a_try_that_was_put_off_while_the_clock_was_wrong_comes_within_minutes(tmp_path: Path) -> None:
    alerts = waiting(tmp_path, Letter(notice=notice(), target="0:webhook", next_at=NOW + YEARS))
    letter, wait = alerts._next("errors", "0:webhook", NOW)
    assert letter is None
    assert wait is not None
    assert 0 < wait <= 300
    letter, _ = alerts._next("errors", "0:webhook", NOW + wait)
    assert letter is not None


def test_a_notice_of_a_clock_that_was_behind_is_not_given_up_at_its_first_failure(tmp_path: Path) -> None:
    """A machine without a battery begins in 1970, and the network comes later than the time."""
    letter = Letter(notice=notice("1970-01-01T00:01:00Z"), target="0:webhook")
    alerts = waiting(tmp_path, letter)
    now, tries = NOW, 0
    while alerts._states["errors"].outbox:
        now = max(now, letter.next_at)
        alerts._sent(letter, "refused", now)
        tries += 1
        assert tries < 100
    assert tries > 10
    assert now - NOW > 1200


def test_a_notice_that_nobody_takes_is_given_up_after_a_day(tmp_path: Path) -> None:
    letter = Letter(notice=notice(), target="0:webhook")
    alerts = waiting(tmp_path, letter)
    began = now = 1_790_000_000.0
    while alerts._states["errors"].outbox:
        now = max(now, letter.next_at)
        alerts._sent(letter, "refused", now)
    assert 86_400 <= now - began < 86_400 + 300


def test_a_thread_that_died_is_told(tmp_path: Path) -> None:
    class Dead:
        name = "metlog-alerts"

        def is_alive(self) -> bool:
            return False

    alerts = waiting(tmp_path)
    dead: Any = Dead()
    alerts._asking = dead
    assert alerts.health() == ["alerts: the thread metlog-alerts has died"]


def test_a_target_that_hangs_holds_no_other_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    let_go = threading.Event()

    class Hangs(BaseTarget):
        def send(self, notice: Notice) -> None:
            let_go.wait(60)
            told.append("hangs")

    class Other(BaseTarget):
        def send(self, notice: Notice) -> None:
            told.append("other")

    alerts = waiting(tmp_path, Letter(notice=notice(), target="0:hangs"), Letter(notice=notice(), target="1:other"))
    alerts._targets = {("errors", "0:hangs"): Hangs(), ("errors", "1:other"): Other()}
    try:
        with alerts._changed:
            alerts._attend()
        wait_for(lambda: told == ["other"] and ("errors", "0:hangs") in alerts._calls)
        assert alerts.health() == []
        monkeypatch.setattr(runner, "_HANGS", 0.0)
        assert alerts.health() == ["alert errors: target 0:hangs has not returned for 0 s"]
        let_go.set()
        wait_for(lambda: not alerts._states["errors"].outbox)
        assert told == ["other", "hangs"]
        assert alerts.health() == []
    finally:
        let_go.set()
        alerts.stop()


class Clock:
    """Time that passes where an alert waits, a little more than it should, and while its query runs."""

    def __init__(self, *queries: float) -> None:
        self.now = NOW
        self.windows: list[tuple[float, float]] = []
        self.queries = list(queries)

    def time(self) -> float:
        return self.now

    monotonic = time

    def pause(self, seconds: float) -> bool:
        self.now += max(seconds, 0.0) + 0.01
        return len(self.windows) == len(self.queries)

    def query(self, sql: str, params: Any, **_: Any) -> Any:
        self.windows.append((params["since"].timestamp(), params["until"].timestamp()))
        self.now += self.queries[len(self.windows) - 1]
        return Result([Column("value", "DOUBLE")], pa.table({"value": [9.0]}), False, 1.0)

    def close(self) -> None:
        """Nothing."""


def evaluated(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, **alert: Any) -> State:
    problems = Problems()
    table = {"name": "errors", "where": "severity <= 3", "when": "value > 5", "every": 60, "window": 60, **alert}
    settings = alerts_of({"alerts": [table]}, None, problems, in_listener=False)
    problems.check()
    made = Alerts(settings, "page", data=folder, engine=lambda: clock)  # type: ignore[arg-type, return-value]
    made.prepare()
    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setattr(made, "_pause", clock.pause)
    made._evaluate()
    made.stop()
    return made.states()[0]


def test_windows_adjoin_however_long_a_query_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.5, 20.0, 3.0, 0.1)
    evaluated(tmp_path, clock, monkeypatch)
    for (_, end), (begin, _) in pairwise(clock.windows):
        assert begin == pytest.approx(end, abs=1e-5)
    again = Clock(0.1)  # and over a restart
    again.now = clock.now + 5
    evaluated(tmp_path, again, monkeypatch)
    assert again.windows[0][0] == pytest.approx(clock.windows[-1][1], abs=1e-5)


def test_what_is_behind_by_a_whole_turn_looks_at_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.5, 150.0, 0.5, 0.5)
    evaluated(tmp_path, clock, monkeypatch)
    ends = [end for _, end in clock.windows]
    assert ends[2] - ends[1] == pytest.approx(150.0, abs=0.1)
    assert ends[3] - ends[2] == pytest.approx(60.0, abs=1e-5)


def test_a_condition_fires_with_the_evaluation_that_its_time_ends_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(3.0, 0.1, 0.1)
    state = evaluated(tmp_path, clock, monkeypatch, **{"for": 120})
    assert (state.state, len(clock.windows)) == ("firing", 3)
