"""The sentences about a listener: what it does, and what somebody should do something about."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metlog.web.listeners import ago, listeners, sentences

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def status(**given: Any) -> dict[str, Any]:
    return {
        "state": "running", "age": 0.2, "time": "2026-03-01T12:00:00Z", "started_at": "2026-03-01T09:00:00Z", "addresses": ["udp://127.0.0.1:5565"],
        "intake": {"journaled": 1234, "repeated": 0, "dropped_full": 0, "refused_full": 0}, "delivery": {"streams": 2, "lost": 0},
        "inputs": {"udp": {"frames": 1234, "kernel_drops": 0}}, "outputs": {"lake": {"error": "", "behind_seconds": 0.4}},
        "journal": {"bytes": 4_200_000, "refuses": ""}, "dead_letters": {}, **given,
    }  # fmt: skip


def told(**given: Any) -> tuple[str, bool]:
    """All sentences as one text, and whether one of them is bad."""
    found = sentences(status(**given), NOW)
    return " ".join(sentence.text for sentence in found), any(sentence.bad for sentence in found)


def test_all_is_well() -> None:
    assert told() == (
        "It is listening on udp://127.0.0.1:5565, for 3 h now. It has taken 1,234 events since it started, from 2 clients that number "
        "their events; none of them was lost on the way. Its output keeps up; the journal holds 4.2 MB.",
        False,
    )


@pytest.mark.parametrize(
    ("given", "words", "bad"),
    [
        ({"intake": {}, "delivery": {}}, "It has not taken any event yet.", False),
        ({"delivery": {"streams": 1, "lost": 1}}, "from 1 client that numbers its events; 1 more event was lost on the way.", True),
        ({"delivery": {"streams": 3, "lost": 4567}}, "4,567 more events were lost on the way.", True),
        ({"intake": {"journaled": 5, "repeated": 2}}, "2 events came twice and were taken once.", False),
        ({"intake": {"journaled": 5, "dropped_full": 3}}, "3 events found no room and were turned away.", True),
        ({"inputs": {"udp": {"kernel_drops": 7}}}, "Input udp: the kernel dropped 7 datagrams", True),
        ({"outputs": {"lake": {"error": "disk full"}}}, "Output lake fails: disk full", True),
        ({"outputs": {"lake": {"behind_seconds": 300}}}, "Output lake is 5 min behind; the journal holds 4.2 MB.", True),
        ({"outputs": {"lake": {}, "http": {}}}, "All 2 outputs keep up; the journal holds 4.2 MB.", False),
        ({"journal": {"refuses": "no space"}}, "The journal takes nothing: no space", True),
        ({"dead_letters": {"not_json": 2, "too_long": 1}}, "3 messages could not be taken for an event (not json: 2, too long: 1)", True),
        ({"state": "stopped", "time": "2026-03-01T11:00:00Z"}, "It was stopped 60 min ago; until then it listened on udp", False),
        ({"state": "gone", "age": 40.0}, "It has said nothing for 40 s: it was killed, or hangs.", True),
        ({"addresses": ["udp://a:1", "http://b:2"]}, "on udp://a:1 and http://b:2", False),
    ],
)  # fmt: skip
def test_what_is_not_as_usual(given: dict[str, Any], words: str, bad: bool) -> None:
    text, wrong = told(**given)
    assert words in text
    assert wrong is bad


def test_states_are_read_from_the_folder(tmp_path: Path) -> None:
    for name, moment, running in (
        ("status", NOW, True),
        ("status-b", NOW - timedelta(seconds=40), True),
        ("status-c", NOW, False),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps({"time": moment.isoformat(), "running": running}))
    (tmp_path / "status-d.json").write_text("nonsense")
    (tmp_path / "other.json").write_text("{}")
    found = {status["name"]: status["state"] for status in listeners(tmp_path, NOW.timestamp())}
    assert found == {
        "status.json": "running", "status-b.json": "gone", "status-c.json": "stopped", "status-d.json": "unreadable",
    }  # fmt: skip
    for entry in listeners(tmp_path, NOW.timestamp()):  # what an older listener does not say is left out
        if entry["state"] != "unreadable":
            assert sentences(entry, NOW)


def test_times() -> None:
    assert ago(None) == "never"
    assert ago(NOW - timedelta(seconds=1), NOW) == "now"
    assert ago("2026-02-27T12:00:00Z", NOW) == "2 d ago"


@pytest.mark.parametrize(("ahead", "state"), [(30, "running"), (86_400, "gone")])
def test_a_status_that_lies_far_ahead_is_of_a_time_before_the_clock_was_set_back(
    tmp_path: Path, ahead: float, state: str
) -> None:
    (tmp_path / "status.json").write_text(
        json.dumps({"time": (NOW + timedelta(seconds=ahead)).isoformat(), "running": True})
    )
    assert [found["state"] for found in listeners(tmp_path, NOW.timestamp())] == [state]
