from __future__ import annotations

from typing import Any

import pytest

from metlog.configtest import run
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
        ({"event": {"type": "a", "severity": 8}, "expect": {}}, "severity"),
        ("text", "table"),
    ],
)
def test_a_wrong_test_is_a_configuration_error(test: Any, word: str) -> None:
    with pytest.raises(ConfigError, match="tests\\[0\\]") as caught:
        run({"sender": "null", "tests": [test]})
    assert word in str(caught.value)
