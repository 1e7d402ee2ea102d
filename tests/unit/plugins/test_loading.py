"""How names become factories: what is found, what is said when nothing is, and what an application's log shows of it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from metlog import ConfigError
from metlog.plugins import installed, load


def package(folder: Path, distribution: str, points: str) -> None:
    """A distribution as an installer leaves it."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def test_what_is_put_on_the_path_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no such sender"):
        load("sender", "late_null", "sender")
    package(tmp_path, "late", "[metlog.senders]\nlate_null = metlog.senders.null:NullSender\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load("sender", "late_null", "sender").__name__ == "NullSender"
    assert [item.origin for item in installed("sender") if item.name == "late_null"] == ["late 1.0"]


def test_two_packages_with_one_name_are_refused_unless_they_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(
        tmp_path,
        "one",
        "[metlog.senders]\nsame = metlog.senders.null:NullSender\ntwo = metlog.senders.null:NullSender\n",
    )
    package(
        tmp_path,
        "other",
        "[metlog.senders]\nsame = metlog.senders.null:NullSender\ntwo = metlog.senders.udp:UdpSender\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load("sender", "same", "sender").__name__ == "NullSender"
    with pytest.raises(ConfigError, match=r"^sender = 'two': more than one package registers this name"):
        load("sender", "two", "sender")


def test_one_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "broken", "[metlog.senders]\nbroken = no_such_module_at_all:Sender\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    ):
        load("sender", "broken", "sender")


def test_an_applications_debug_log_has_no_line_a_component(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        load("sender", "null", "sender")
    assert not [record for record in caplog.records if record.name.startswith("stevedore")]


@pytest.mark.process
def test_no_cache_is_written(tmp_path: Path) -> None:
    program = "import metlog; metlog.configure('null:'); metlog.close()"
    environment = {"XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
