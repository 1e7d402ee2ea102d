"""What tests ask of the events that were logged."""

from __future__ import annotations

import datetime
import re
import threading
import time
from unittest import mock

import pytest

import metlog
from metlog.testing import capture


@pytest.fixture
def events():
    with capture() as found:
        yield found


def test_it_is_a_sequence(events):
    assert not events
    assert str(events) == "nothing was logged"
    metlog.log(("login", "sync"), "user logged in")
    metlog.log("logout")
    assert len(events) == 2
    assert events[0].tokens == ("login", "sync")
    assert events[-1].type == "logout"
    assert [event.type for event in events[:1]] == ["login"]
    assert [event.type for event in events] == events.types == ["login", "logout"]
    assert [event.type for event in reversed(events)] == ["logout", "login"]
    assert repr(events) == "<LoggedEvents: login, logout>"
    assert len(str(events).splitlines()) == 2
    events.clear()
    assert list(events) == []
    metlog.log("again")
    assert events.types == ["again"]


def test_every_condition_counts(events):
    metlog.configure("null:", logger="sync")
    metlog.log(("login", "sync"), "user logged in", severity=3, fields={"user": "u1", "ms": 12.5})
    for right in (
        {}, {"logger": "sync"}, {"severity": 3}, {"severity": range(4)}, {"payload": "user logged in"},
        {"payload": re.compile("logged")}, {"tokens": ["login", "sync"]}, {"weight": 1.0}, {"fields": {"user": "u1"}},
        {"fields": {"ms": pytest.approx(12.4, abs=0.2), "user": mock.ANY}}, {"severity": 3, "fields": {}},
    ):  # fmt: skip
        assert len(events.matching("login", **right)) == len(events.matching(**right)) == 1, right
    for wrong in (
        {"logger": ""}, {"severity": 4}, {"severity": range(3)}, {"payload": "user"}, {"payload": re.compile("out")},
        {"tokens": ["login"]}, {"weight": 2.0}, {"fields": {"user": "u2"}}, {"fields": {"missing": None}},
        {"fields": {"user": "u1", "ms": 1}}, {"severity": 3, "logger": "x"}, {"severity": 0},
    ):  # fmt: skip
        assert events.matching("login", **wrong) == [], wrong
    assert events.matching("logout") == []


def test_fields_are_asked_for_as_they_were_logged_or_as_they_arrive(events):
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    metlog.log("a", fields={"pair": (1, "x"), "when": when, "raw": b"\xff", "nan": float("nan")})
    events.one(fields={"pair": (1, "x"), "when": when, "raw": b"\xff"})
    events.one(fields={"pair": [1, "x"], "when": "2026-01-01T00:00:00Z", "raw": "/w==", "nan": None})
    assert events.matching(fields={"pair": (1, "y")}) == []
    assert "metlog.repaired" in events[0].fields


def test_a_field_given_as_a_condition_is_told_with_the_remedy(events):
    metlog.log("a", fields={"user": "u1"})
    with pytest.raises(
        TypeError, match=re.escape("user: no such condition; a field is asked for with fields={'user': …}")
    ):
        events.matching("a", user="u1")


def test_one_and_none_say_what_was_logged(events):
    metlog.log("login", fields={"user": "u1"})
    metlog.log("login", fields={"user": "u2"})
    assert events.one("login", fields={"user": "u2"}) is events[1]
    events.none("logout")
    events.none(severity=range(5))
    with pytest.raises(AssertionError) as told:
        events.one("login")
    first, *rest = str(told.value).splitlines()
    assert first == "wants one event of type 'login', found 2; logged:"
    assert [line.partition("login: ")[2] for line in rest] == ["user=u1", "user=u2"]
    with pytest.raises(AssertionError, match="wants one event of type 'logout' with severity = 3, found 0"):
        events.one("logout", severity=3)
    with pytest.raises(AssertionError, match=r"wants no event with fields = \{'user': 'u1'\}, found 1"):
        events.none(fields={"user": "u1"})
    events.clear()
    with pytest.raises(AssertionError, match="found 0; logged:\nnothing"):
        events.one()


def test_a_message_lists_the_last_events(events):
    for number in range(60):
        metlog.log(f"t{number}")
    with pytest.raises(AssertionError) as told:
        events.one("x")
    lines = str(told.value).splitlines()
    assert len(lines) == 52
    assert lines[1] == "… 10 before"
    assert " t10:" in lines[2]


def test_wait_for_what_a_thread_logs(events):
    def later():
        time.sleep(0.05)
        metlog.log("a")
        time.sleep(0.05)
        metlog.log("a", fields={"n": 2})

    thread = threading.Thread(target=later)
    thread.start()
    found = events.wait_for("a", count=2)
    thread.join()
    assert [event.fields for event in found] == [{}, {"n": 2}]
    begun = time.monotonic()
    with pytest.raises(AssertionError, match=r"wants 2 event\(s\) of type 'b' within 0.05 s, found 0"):
        events.wait_for("b", count=2, timeout=0.05)
    assert time.monotonic() - begun >= 0.05


def test_counters_and_timers_by_name(events):
    metlog.incr("orders")
    metlog.incr("orders", 4)
    metlog.incr("others", 7)
    with metlog.timer("checkout"):
        pass
    metlog.timer_send("query", 3.5)
    metlog.timer_send("query", 4.5)
    assert (events.counter("orders"), events.counter("others"), events.counter("none")) == (5, 7, 0)
    assert events.timers("query") == [3.5, 4.5]
    assert len(events.timers("checkout")) == 1
    assert 0 <= events.timers("checkout")[0] < 5000


@pytest.mark.parametrize(
    "logged",
    [
        {"tokens": ("login", "se'cret")},
        {"msg": "a se'cret here"},
        {"fields": {"se'cret": 1}},
        {"fields": {"a": {"b": [{"c": ("x", "the se'cret")}]}}},
        {"fields": {"error": ValueError("se'cret")}},
    ],
)
def test_mentions_finds_text_in_every_place(events, logged):
    metlog.log("innocent")
    metlog.log(logged.pop("tokens", "a"), **logged)
    assert [event is events[1] for event in events.mentions("se'cret")] == [True]
    assert events.mentions("other") == []


def test_numbers_are_found_as_text(events):
    metlog.log("a", fields={"card": 4111111111111111})
    assert len(events.mentions("4111111111111111")) == 1
