"""A client that was never configured: the console where stderr is a terminal, else events are counted and left out."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from msgspec.structs import replace

from metlog import MetlogClient, Stats
from metlog.core.unconfigured import Unconfigured

PROGRAM = """
import threading
import metlog
client = metlog.get_client("other")
threads = [threading.Thread(target=metlog.log, args=("greeting", f"hello {number}")) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
metlog.error("it %s", "broke", user="u1")
client.incr("orders")
metlog.flush()
print(metlog.stats().accepted, client.stats().accepted)
"""


def run(**environment: str) -> tuple[str, str]:
    """What a program that configures nothing writes to its terminal, and to its standard output."""
    ours, theirs = pty.openpty()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("METLOG_", "NO_COLOR"))}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env={**kept, "TERM": "dumb", **environment}, stdout=subprocess.PIPE, stderr=theirs,
        text=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        seen = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not piece:
                break
            seen += piece
        os.close(ours)
        assert process.stdout is not None
        return seen.decode(), process.stdout.read().strip()


@pytest.mark.process
def test_on_a_terminal_it_is_the_console() -> None:
    seen, counts = run()
    assert sorted(re.findall(r"hello \d", seen)) == [f"hello {number}" for number in range(8)]
    assert re.search(r"\[error +\] it broke .*user=u1", seen)
    assert "orders" in seen
    assert counts == "9 1"


@pytest.mark.process
@pytest.mark.parametrize("setting", [{"METLOG_SENDER": "null:"}, {"METLOG_CONFIG": "/none.toml"}])
def test_where_the_environment_names_a_configuration_nothing_is_written(setting: dict[str, str]) -> None:
    assert run(**setting) == ("", "0 0")


def test_what_the_default_logs_itself_is_counted() -> None:
    calls = []

    def default() -> bool:
        calls.append(1)
        assert item.admit_severity(6) == -1
        return True

    item = Unconfigured("none", default)
    assert item.admit_severity(6) == -1
    assert (len(calls), item.stats().filtered) == (1, 1)


def test_a_default_that_fails_is_tried_once() -> None:
    calls = []

    def default() -> bool:
        calls.append(1)
        raise OSError("no terminal")

    item = Unconfigured("none", default)
    with pytest.raises(OSError, match="no terminal"):
        item.admit_severity(6)
    assert [item.admit_severity(6), item.admit_severity(6)] == [-1, -1]
    assert (len(calls), item.stats().filtered) == (1, 2)


def test_calls_after_the_end_are_counted_on_top_of_the_last_counts() -> None:
    client = MetlogClient.from_config("memory:", filters=[{"name": "type_deny", "types": ["noise"]}], counters="each")
    client.log("noise")
    client.log("event")
    client.close()
    last = client.stats()
    assert (last.accepted, last.filtered, last.sent) == (1, 1, 1)
    for call in (client.log, client.info, client.incr, client.metlog):
        call("late")
    after = client.stats()
    assert after == replace(last, filtered=5)
    after.dropped["mine"] = 1
    assert client.stats() == replace(last, filtered=5), "what is given is a copy"
    client.configure("memory:")
    assert client.stats() == Stats()
    client.close()
