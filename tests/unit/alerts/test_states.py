"""How states follow from each other, and what is told: for, repeat, recovery, missing data, failures, clocks, restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metlog.alerts.config import Alert, Prepared
from metlog.alerts.readings import Reading
from metlog.alerts.states import Letter, State, Store, advance, kept_in
from metlog.reports.conditions import condition

MET, CLEAR, MISSING, FAILED = (
    Reading("met", 9.0),
    Reading("clear", 1.0),
    Reading("missing"),
    Reading("failed", error="broken"),
)

AT = "1970-01-01T00:16:"


def prepared(**options: Any) -> Prepared:
    alert = Alert(name="errors", when="value > 5", where="true", **options)
    return Prepared(alert, condition(alert.when), ())


class Steps:
    """One alert, read every ten seconds."""

    def __init__(self, **options: Any) -> None:
        self.alert = prepared(**options)
        self.state = State(name="errors")
        self.now = 1000.0
        self.ids: list[str] = []

    def take(self, *readings: Reading) -> list[tuple[str, str]]:
        """The state after each, and the kind of the notice."""
        found = []
        for reading in readings:
            notice = advance(self.state, self.alert, reading, self.now)
            self.now += 10
            found.append((self.state.state, notice.kind if notice else ""))
            if notice:
                self.ids.append(notice.id)
        return found


def test_it_fires_once_and_recovers_once() -> None:
    steps = Steps()
    assert steps.take(CLEAR, MET, MET, CLEAR, CLEAR, MET) == [
        ("ok", ""), ("firing", "firing"), ("firing", ""), ("ok", "recovered"), ("ok", ""), ("firing", "firing"),
    ]  # fmt: skip
    assert len(set(steps.ids)) == 3


def test_for_wants_the_condition_all_the_time() -> None:
    steps = Steps(for_=20.0)
    assert steps.take(MET, MET, CLEAR, MET, MET, MET, CLEAR) == [
        ("pending", ""), ("pending", ""), ("ok", ""), ("pending", ""), ("pending", ""), ("firing", "firing"), ("ok", "recovered"),
    ]  # fmt: skip


def test_repeat_and_no_recovery() -> None:
    steps = Steps(repeat=20.0, recovery=False)
    assert [kind for _, kind in steps.take(MET, MET, MET, MET, MET, CLEAR)] == [
        "firing",
        "",
        "repeat",
        "",
        "repeat",
        "",
    ]


@pytest.mark.parametrize(
    ("no_data", "told"),
    [
        ("keep", ["firing", "", "", "", "recovered", ""]),
        ("ok", ["firing", "recovered", "firing", "recovered", "", ""]),
        ("alert", ["firing", "", "", "", "recovered", "firing"]),
    ],
)
def test_missing_data_is_a_state_of_its_own(no_data: str, told: list[str]) -> None:
    states = ["firing", "no_data", "firing", "no_data", "ok", "no_data"]
    assert Steps(no_data=no_data).take(MET, MISSING, MET, MISSING, CLEAR, MISSING) == list(
        zip(states, told, strict=True)
    )


def test_missing_data_that_alerts_waits_as_long_as_the_condition() -> None:
    assert Steps(no_data="alert", for_=20.0).take(MISSING, MISSING, MISSING) == [
        ("no_data", ""),
        ("no_data", ""),
        ("no_data", "firing"),
    ]


def test_a_failed_query_neither_fires_nor_recovers() -> None:
    steps = Steps()
    assert steps.take(MET, FAILED, MET, FAILED, CLEAR, FAILED) == [
        ("firing", "firing"), ("error", ""), ("firing", ""), ("error", ""), ("ok", "recovered"), ("error", ""),
    ]  # fmt: skip
    assert steps.state.error == "broken"
    steps.take(CLEAR)
    assert steps.state.error == ""


def test_a_clock_that_is_set_back_makes_nothing_last_longer() -> None:
    steps = Steps(for_=15.0, repeat=15.0)
    steps.take(MET)
    steps.now = 500.0
    assert [kind for _, kind in steps.take(MET, MET, MET, MET)] == ["", "", "firing", ""]
    steps.now = 100.0
    assert [kind for _, kind in steps.take(MET, MET, MET)] == ["", "", "repeat"]


def test_since_is_when_a_state_began_and_a_notice_says_what_was_found() -> None:
    steps = Steps(for_=20.0, text="Too many errors", severity=2)
    steps.take(CLEAR, MET, MET)
    assert (steps.state.state, steps.state.since) == ("pending", 1010.0)
    notice = advance(steps.state, steps.alert, MET, steps.now)
    assert notice is not None
    assert notice.text == "Too many errors: alert errors fires: value is 9 (condition: value > 5)"
    assert (notice.severity, notice.value, notice.since, notice.at) == (
        2,
        9.0,
        f"{AT}50.000000Z",
        "1970-01-01T00:17:10.000000Z",
    )
    steps.now += 10
    notice = advance(steps.state, steps.alert, CLEAR, steps.now)
    assert notice is not None
    assert (notice.kind, notice.severity, notice.since) == ("recovered", 5, "1970-01-01T00:16:50.000000Z")


def test_states_are_kept_whole(tmp_path: Path) -> None:
    steps = Steps()
    notice = advance(steps.state, steps.alert, MET, 1000.0)
    assert notice is not None
    steps.state.outbox = [Letter(notice=notice, target="0:webhook", tries=3, error="refused")]
    store = Store(tmp_path / "alerts", "page")
    assert store.locked()
    assert store.load() == {}
    store.save([steps.state], 1000.0)
    store.close()
    again = Store(tmp_path / "alerts", "page")
    assert again.load() == {"errors": steps.state}
    again.close()
    (kept,) = kept_in(tmp_path / "alerts")
    assert (kept.runner, kept.alerts) == ("page", [steps.state])


def test_one_runner_at_a_time(tmp_path: Path) -> None:
    first, second = Store(tmp_path, "page"), Store(tmp_path, "page")
    assert first.locked()
    assert not second.locked()
    first.close()
    assert second.locked()
    second.close()


def test_a_damaged_file_is_told_and_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "page.json").write_text('{"runner": "page", "alerts": [{"na')
    store = Store(tmp_path, "page")
    assert store.load() == {}
    store.close()
    assert kept_in(tmp_path) == []
    assert "cannot be read" in caplog.text
