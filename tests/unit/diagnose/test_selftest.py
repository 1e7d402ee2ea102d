from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metlog.diagnose.selftest import run
from metlog.errors import ConfigError

TEE = {"name": "tee", "senders": ["null", {"sender": "memory", "filters": [{"name": "severity_max", "severity": 3}]}]}


def one(test: dict[str, Any], **settings: Any) -> list[str]:
    (result,) = run({"sender": "null", **settings, "tests": [test]})
    assert result.passed is not bool(result.differences)
    return result.differences


def test_what_is_expected_passes() -> None:
    assert one({"event": {"type": "a", "fields": {"x": 1}}, "expect": {"type": "a", "fields": {"x": 1}}}) == []


@pytest.mark.parametrize(
    ("test", "word"),
    [
        ({"event": {"type": "a"}, "expect": "dropped"}, "reaches null"),
        ({"event": {"type": "a", "severity": 7}, "expect": {"type": "a"}}, "is dropped"),
        ({"event": {"type": "a"}, "expect": {"type": "b"}}, "type is 'a', expected 'b'"),
        ({"event": {"type": "a", "fields": {"p": "x"}}, "absent": ["fields.p"]}, "fields.p is there"),
        ({"event": {"type": "a", "payload": "secret"}, "contains_not": ["secret"]}, "holds 'secret'"),
        ({"event": {"type": "a"}, "reaches": ["udp"]}, "expected to reach ['udp']"),
    ],
)
def test_what_differs_is_told(test: dict[str, Any], word: str) -> None:
    (line,) = one(test, filters=[{"name": "severity_max", "severity": 6}])
    assert word in line


def test_reaches_names_the_branches_of_a_tee() -> None:
    assert one({"event": {"type": "a", "severity": 6}, "reaches": ["null"]}, sender=TEE) == []
    assert one({"event": {"type": "a", "severity": 1}, "reaches": ["null", "memory"]}, sender=TEE) == []
    assert one({"event": {"type": "a", "severity": 6}, "reaches": ["memory"]}, sender=TEE) != []


@pytest.mark.parametrize(
    ("test", "word"),
    [
        ({"event": {"type": "a"}}, "expects nothing"),
        ({"event": {"type": "a"}, "expct": {}}, "'expect'"),
        ({"event": {}, "expect": "dropped"}, "type"),
        ({"event": {"type": "a"}, "expect": "drop"}, "'dropped'"),
        (
            {"event": {"type": "a", "severity": 8}, "expect": {}},
            "tests[0].event.severity = 8: a severity is 0 (emergency)",
        ),
        (
            {"event": {"type": "a", "severity": "hgh"}, "expect": {}},
            "tests[0].event.severity = 'hgh': a severity is 0 (emergency) to 7 (debug)",
        ),
        ({"event": {"type": 3}, "expect": {}}, "tests[0].event.type = 3: expected `str`"),
        (
            {"event": {"type": "a", "tokens": ["x", 3]}, "expect": {}},
            "tests[0].event.tokens = ['x', 3]: expected `str`",
        ),
        ({"event": {"type": "a", "weight": -1}, "expect": {}}, "tests[0].event.weight = -1: expected `float` > 0.0"),
        ("text", "table"),
        (
            {"event": {"type": "a", "sevrity": 7}, "expect": "dropped"},
            "tests[0].event.sevrity = 7: an event has no such field; did you mean 'severity'?",
        ),
        ({"event": {"type": "a", "hostname": "h"}, "expect": {}}, "tests[0].event.hostname = 'h': is the client's own"),
        (
            {"event": {"type": "a"}, "expect": {"feilds": {}}},
            "tests[0].expect.feilds = {}: an event has no such field; did you mean 'fields'?",
        ),
        ({"event": {"type": "a"}, "absent": ["password"]}, "did you mean 'fields.password'?"),
        ({"event": {"type": "a"}, "contains_not": 3}, "tests[0].contains_not = 3: wants a list"),
        ({"event": "login", "expect": "dropped"}, "tests[0].event = 'login': wants a table"),
    ],
)
def test_a_wrong_test_is_a_configuration_error(test: Any, word: str) -> None:
    with pytest.raises(ConfigError, match="tests\\[0\\]") as caught:
        run({"sender": "null", "tests": [test]})
    assert word in str(caught.value)


def test_all_faults_of_all_tests_are_told_at_once() -> None:
    tests = [{"event": {"type": "a"}, "expct": 1}, {"event": {"type": "a", "severity": 9}, "expect": 5, "reaches": 7}]
    with pytest.raises(ConfigError) as caught:
        run({"sender": "null", "tests": tests})
    starts = ("tests[0].expct", "tests[0]: expects", "tests[1].expect", "tests[1].reaches", "tests[1].event")
    assert len(caught.value.problems) == len(starts)
    for start in starts:
        assert any(line.startswith(start) for line in caught.value.problems), start


def test_one_text_needs_no_list() -> None:
    event = {"type": "a", "fields": {"p": "x"}}
    assert one({"event": event, "absent": "fields.p"}) == ["null: fields.p is there"]
    assert one({"event": event, "contains_not": "x", "contains": "a", "reaches": "null"}) != []


def test_paths_go_into_lists_and_names_with_dots() -> None:
    event = {"type": "a", "fields": {"list": [{"p": 1}], "user.mail": 2}}
    assert len(one({"event": event, "absent": ["fields.list.0.p", "fields.user.mail"]})) == 2
    assert one({"event": event, "absent": ["fields.list.1.p", "fields.user.name"]}) == []


@pytest.mark.parametrize("encoder", ["json", "msgpack", {"name": "signed", "key": "k" * 32}])
def test_text_is_found_however_an_encoder_writes_it(encoder: Any) -> None:
    text = 'quote " and \\ and ü'
    event = {"type": "a", "payload": text, "fields": {text: 4711}}
    assert len(one({"event": event, "contains_not": [text, "4711", "no such"]}, encoder=encoder)) == 2
    assert one({"event": event, "contains": [text, "4711", "no such"]}, encoder=encoder) == [
        "null: 'no such' is not in the frame"
    ]


def test_an_encoder_for_people_can_be_searched_and_not_compared() -> None:
    event = {"type": "a", "payload": "seen"}
    assert one({"event": event, "contains": ["seen"]}, encoder="text") == []
    (line,) = one({"event": event, "expect": {"payload": "another"}}, encoder="text")
    assert "cannot be read back" in line


def test_chance_decides_for_keeping_and_a_hash_as_it_will() -> None:
    for _ in range(20):
        assert (
            one({"event": {"type": "a"}, "expect": {"weight": 1000.0}}, filters=[{"name": "sample", "rate": 0.001}])
            == []
        )
    hashed = [{"name": "sample", "rate": 0.5, "field": "u"}]
    found = {bool(one({"event": {"type": "a", "fields": {"u": n}}, "expect": {}}, filters=hashed)) for n in range(20)}
    assert found == {True, False}


def test_branches_within_branches_are_tested_too() -> None:
    inner = {"sender": TEE, "filters": [{"name": "type_deny", "types": ["x"]}]}
    sender = {"name": "tee", "senders": [inner, "stdout"]}
    assert one({"event": {"type": "a", "severity": 1}, "reaches": ["null", "memory", "stdout"]}, sender=sender) == []
    assert one({"event": {"type": "x", "severity": 1}, "reaches": ["stdout"]}, sender=sender) == []


def test_nothing_is_opened_or_sent(tmp_path: Path) -> None:
    sender = {
        "name": "tee",
        "senders": [f"file:{tmp_path}/a", {"name": "zmq", "endpoint": "tcp://127.0.0.1:1", "bind": True}],
    }
    assert one({"event": {"type": "a"}, "reaches": ["file", "zmq"]}, sender=sender) == []
    assert list(tmp_path.iterdir()) == []


CONFIG = """
[metlog]
logger = "sync"
sender = "udp://collector.invalid:5565"
filters = [{ name = "redact", drop = ["**.password"], mask = ["email"] }, { name = "severity_max", severity = 6 }]

[[tests]]
name = "the password never leaves"
event = { type = "login", payload = "of ann@example.org", fields = { user = "u1", password = "secret" } }
expect = { type = "login", logger = "sync", payload = "of ***", fields = { user = "u1" } }
absent = ["fields.password"]
contains = ["u1"]
contains_not = ["secret", "example.org"]

[[tests]]
name = "no debug events"
event = { type = "trace", severity = 7 }
expect = "dropped"
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metlog", "test", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.process
def test_the_command_says_what_passed_and_what_did_not(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(CONFIG)
    done = command(str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "ok      the password never leaves\nok      no debug events\n2 passed, 0 failed\n"
    path.write_text(CONFIG.replace('drop = ["**.password"]', 'drop = ["passwort"]'))
    done = command(str(path))
    assert done.returncode == 1
    assert "FAILED  the password never leaves" in done.stdout
    assert "udp: the frame holds 'secret'" in done.stdout
    path.write_text(CONFIG.replace('mask = ["email"]', 'mask = ["("]').replace("expect = ", "expct = "))
    done = command(str(path))
    assert done.returncode == 2
    assert "filters[0].mask = '('" in done.stderr
    assert "Traceback" not in done.stderr
    path.write_text(CONFIG.partition("[[tests]]")[0])
    assert command(str(path)).returncode == 2
    done = command(str(tmp_path / "none.toml"))
    assert (done.returncode, "No such file" in done.stderr) == (2, True)
