from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import metlog
from metlog import ConfigError, MetlogClient
from metlog.config import from_prefixed, gather, plan


def problems(settings: Any = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan(gather(settings, more))
    return caught.value.problems


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sender": "upd"}, ["sender", "'upd'", "'udp'"]),
        ({"encoder": "jsn"}, ["encoder", "'jsn'", "'json'"]),
        ({"filters": ["severty_max"]}, ["filters[0]", "'severity_max'"]),
        ({"sender": {"name": "udp", "prot": 1}}, ["sender.prot", "'port'"]),
        ({"sender": "udp://h:99999999"}, ["sender", "99999999"]),
        ({"sender": "udp://h?max_frame=big"}, ["sender.max_frame", "'big'", "int"]),
        ({"sender": {"host": "h"}}, ["sender.name"]),
        ({"sender": 7}, ["sender", "7", "int"]),
        ({"sender": "udp://u:secret@h"}, ["must not hold"]),
        ({"sender": "null:#x"}, ["fragment"]),
        ({"filters": {"name": "sample"}}, ["filters", "list"]),
        ({"filters": [{"name": "severity_max"}]}, ["filters[0].severity", "needs"]),
        ({"sneder": 1}, ["sneder", "'sender'"]),
        ({"buffer": {"flush_interval": -1}}, ["buffer.flush_interval", "0 to 3600 seconds"]),
        ({"buffer": {"max_fram": 1}}, ["buffer.max_fram", "'max_frame'"]),
        ({"exit_timeout": -1}, ["exit_timeout", "-1"]),
        ({"on_drop": "hook"}, ["on_drop", "'hook'", "callable"]),
        ({"logger": "${METLOG_NO_SUCH_THING}"}, ["logger", "METLOG_NO_SUCH_THING", "not set"]),
    ],
)
def test_a_fault_names_key_value_and_remedy(settings: dict[str, Any], words: list[str]) -> None:
    (line,) = problems(settings)
    for word in words:
        assert word in line


def test_all_faults_are_told_at_once() -> None:
    found = problems({"sender": "upd", "encoder": "jsn", "filters": ["x", "y"], "logger": 3, "nope": 1})
    assert len(found) == 6


def test_a_password_in_a_url_is_refused_without_repeating_it() -> None:
    assert "hunter2" not in problems("udp://u:hunter2@h")[0]


def test_a_configure_that_raises_changes_nothing() -> None:
    client = MetlogClient.from_config("memory:", logger="a")
    sender = client.sender
    with pytest.raises(ConfigError):
        client.configure({"sender": "memory:", "filters": [{"name": "severity_max", "severity": 9}]})
    assert client.sender is sender
    client.log("x")
    assert client.flush(5)
    client.close()


def test_options_of_a_url_are_converted_by_annotation() -> None:
    client = MetlogClient.from_config("memory:?max_frame=1432&limit=7")
    assert (client.sender.max_frame, client.sender.frames.maxlen) == (1432, 7)
    client.close()


@pytest.mark.parametrize("name", ["c.toml", "c.ini"])
def test_files_give_the_same_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENV", "svc")
    text = {
        "c.toml": '[metlog]\nlogger = "${FROM_ENV}"\nfilters = [{name = "severity_max", severity = 4}]\n'
        '[metlog.sender]\nname = "memory"\nmax_frame = 999\n[metlog.buffer]\nflush_interval = 0.5\n',
        "c.ini": "[metlog]\nlogger = ${FROM_ENV}\nfilters = severity_max:?severity=4\n"
        "[metlog.sender]\nname = memory\nmax_frame = 999\n[metlog.buffer]\nflush_interval = 0.5\n",
    }[name]
    (tmp_path / name).write_text(text)
    for given in (tmp_path / name, str(tmp_path / name)):
        made = plan(gather(given))
        assert made.logger == "svc"
        assert made.sender is not None
        assert (made.sender.name, made.sender.options) == ("memory", {"max_frame": 999})
        assert made.filters[0].options == {"severity": 4}
        assert made.buffer == {"flush_interval": 0.5}


def test_an_applications_own_settings_are_taken_by_prefix() -> None:
    settings = {
        "sqlalchemy.url": "sqlite://",
        "metlog.sender": "memory",
        "metlog.sender.limit": "5",
        "metlog.filters": "severity_max:?severity=4\nseverity_max:?severity=5",
        "metlog.statsd": "false",
        "metlog.disabled_timers": "a, b",
    }
    made = plan(gather(settings))
    assert made.sender is not None
    assert made.sender.options == {"limit": 5}
    assert [item.options["severity"] for item in made.filters] == [4, 5]
    assert made.disabled_timers == {"a", "b"}
    assert made.statsd is False
    assert from_prefixed({"x.sender": "null"}, "x.") == {"sender": "null"}


def test_the_environment_configures_without_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('logger = "file"\nsender = "null"\n')
    monkeypatch.setenv("METLOG_CONFIG", str(tmp_path / "m.toml"))
    monkeypatch.setenv("METLOG_SENDER", "memory:?limit=3")
    monkeypatch.setenv("METLOG_BUFFER__FLUSH_INTERVAL", "0.25")
    client = metlog.configure()
    assert client.sender.frames.maxlen == 3
    assert client._home.pipeline.logger == "file"  # type: ignore[union-attr]


def test_variables_have_defaults_and_dollars_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSET_HERE", raising=False)
    made = plan({"logger": "${UNSET_HERE:-x}$${y}", "sender": "null"})
    assert made.logger == "x${y}"


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [("a.toml", "[metlog\n", "not TOML"), ("a.ini", "x\n", "not INI"), ("a.ini", "[other]\na = 1\n", "[metlog]")],
)
def test_a_broken_file_is_named(name: str, text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    (line,) = problems(tmp_path / name)
    assert word in line
    assert name in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "none.toml")[0]


def test_tee_faults_name_the_branch() -> None:
    spec = {"name": "tee", "senders": ["null", {"sender": "nul", "filters": ["x"]}, {"sender": "null", "logger": "a"}]}
    with pytest.raises(ConfigError) as caught:
        MetlogClient.from_config({"sender": spec})
    found = caught.value.problems
    assert len(found) == 3
    assert found[0].startswith("senders[1].sender = 'nul'")
    assert found[1].startswith("senders[1].filters[0] = 'x'")
    assert found[2].startswith("senders[2].logger")
