"""Timeouts that no clock can hold, and those that are none: every public function takes them."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

import metlog
from metlog import ConfigError, MetlogClient
from metlog.core.living import Living
from metlog.core.timeouts import LONGEST, deadline_in
from metlog.senders.memory import MemorySender
from metlog.senders.options import at_least, positive
from metlog.statsd.client import UdpStatsd, UnixStatsd
from tests.helpers.ports import free_port
from tests.helpers.waiting import wait_for

LONG = [math.inf, 1e300, 1e10, LONGEST + 1]
NONE = [0, -1, -math.inf, math.nan]


@pytest.mark.parametrize(
    ("seconds", "wanted"), [(0, 0.0), (5, 5.0), *((one, LONGEST) for one in LONG), *((one, 0.0) for one in NONE)]
)
def test_a_deadline_is_a_moment_that_every_clock_can_hold(seconds: float, wanted: float) -> None:
    before = monotonic()
    found = deadline_in(seconds)
    assert before + wanted <= found <= monotonic() + wanted


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config({"sender": MemorySender(), "buffer": {"flush_interval": 600}})
    made.log("event")
    yield made
    made.close()


@pytest.mark.parametrize("timeout", LONG)
def test_a_client_takes_any_length_of_time(client: MetlogClient, timeout: float) -> None:
    sender = client.sender
    assert client.flush(timeout)
    client.log("event")
    client.close(timeout)
    assert [event.type for event in sender.events] == ["event", "event", "metlog.end"]
    assert sender.closed


@pytest.mark.parametrize("timeout", NONE)
def test_a_client_that_gets_no_time_ends_all_the_same(client: MetlogClient, timeout: float) -> None:
    sender = client.sender
    assert client.flush(timeout) in {True, False}
    client.close(timeout)
    assert sender.closed
    stats = client.stats()
    assert stats.accepted == stats.sent + sum(stats.dropped.values())


def test_a_timeout_that_is_no_number_changes_nothing(client: MetlogClient) -> None:
    with pytest.raises(TypeError):
        client.close("soon")  # type: ignore[arg-type]
    assert client.is_active
    assert client.flush(20)
    assert client.stats().sent == 1


@pytest.mark.parametrize("timeout", [*LONG, *NONE])
def test_a_job_takes_any_timeout(live: Living[Any], timeout: float) -> None:
    client = MetlogClient.from_config({"sender": MemorySender(), "buffer": {"flush_interval": 600}})
    with metlog.job(timeout):
        client.log("event")
    assert timeout in NONE or math.isnan(timeout) or client.stats().sent == 1
    client.close()


@pytest.mark.parametrize("timeout", [*LONG, *NONE])
def test_a_signal_handler_takes_any_timeout(live: Living[Any], timeout: float) -> None:
    client = MetlogClient.from_config({"sender": MemorySender(), "buffer": {"flush_interval": 600}})
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        metlog.flush_on_signal(signal.SIGUSR1, timeout)
        client.log("event")
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for(lambda: came)  # at once, or when the machine finds the time
    finally:
        signal.signal(signal.SIGUSR1, before)
    client.close()


@pytest.mark.parametrize("timeout", [*LONG, *NONE])
def test_a_statsd_client_takes_any_timeout(timeout: float, tmp_path: Any) -> None:
    for statsd in (
        UdpStatsd("127.0.0.1", free_port(), exit_timeout=timeout),
        UnixStatsd(str(tmp_path / "none"), timeout=0.01, exit_timeout=timeout),
    ):
        statsd.incr("counter")
        assert statsd.flush(timeout) in {True, False}
        statsd.close()
        stats = statsd.stats()
        assert stats.sent + sum(stats.dropped.values()) == 1


@pytest.mark.parametrize("setting", ["inf", "nan", -1, 3601])
def test_the_setting_exit_timeout_is_one_that_can_be_waited_for(setting: Any) -> None:
    with pytest.raises(ConfigError, match="exit_timeout"):
        MetlogClient.from_config("memory:", exit_timeout=setting)


def test_so_is_each_option_of_a_sender_in_seconds() -> None:
    for check in (positive, lambda name, value, unit: at_least(name, value, 0, unit)):
        check("timeout", LONGEST, "seconds")
        check("size", LONGEST + 1, "bytes")
        with pytest.raises(ValueError, match=r"timeout = 1000001\.0: wants 1000000 seconds at most"):
            check("timeout", LONGEST + 1, "seconds")
    with pytest.raises(ConfigError, match=r"sender\.timeout = 10000000\.0: wants 1000000 seconds at most"):
        MetlogClient.from_config(f"tcp://127.0.0.1:{free_port()}?timeout=10000000")
