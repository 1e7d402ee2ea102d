"""Notices that wait: when they are told by a clock that was wrong, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metlog.alerts.config import AlertSettings
from metlog.alerts.runner import Alerts
from metlog.alerts.states import Letter, State, Store
from metlog.alerts.targets import Notice

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
    letter, wait = alerts._next(NOW)
    assert letter is None
    assert wait is not None
    assert 0 < wait <= 300
    letter, _ = alerts._next(NOW + wait)
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
    alerts._threads = [dead]
    assert alerts.health() == ["alerts: the thread metlog-alerts has died"]
