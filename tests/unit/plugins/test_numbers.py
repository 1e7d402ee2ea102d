"""Numbers that are none, or are beyond all measure, are refused as options of every component: key, value, remedy."""

from __future__ import annotations

import inspect
import math
from typing import Any, get_type_hints

import pytest

from metlog import ConfigError, MetlogClient
from metlog.filters.rate_limit import RateLimit
from metlog.filters.sample import Sample
from metlog.plugins import check, installed, load
from metlog.senders.options import at_least, positive

NUMBERS = (int, float, int | None, float | None)
KINDS = ["sender", "encoder", "filter", "input", "output", "target"]


def numeric_options() -> list[tuple[str, str, str]]:
    """(kind, name, key) of every option of a built-in component that is a number and nothing else."""
    found = []
    for kind in KINDS:
        for name in sorted(item.name for item in installed(kind)):
            factory = load(kind, name, kind)
            if factory.__module__.startswith("metlog."):
                hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
                found += [(kind, name, key) for key, hint in hints.items() if key != "return" and hint in NUMBERS]
    return found


OPTIONS = numeric_options()


def test_the_options_are_found() -> None:
    assert {
        ("filter", "rate_limit", "rate"),
        ("input", "http", "idle_timeout"),
        ("sender", "udp", "send_buffer"),
    } <= set(OPTIONS)


@pytest.mark.parametrize(("kind", "name", "key"), OPTIONS)
def test_what_is_no_finite_number_is_refused(kind: str, name: str, key: str) -> None:
    for value in (math.nan, math.inf, -math.inf, "nan", "inf", True, 10**400, -(10**400), 10**5000, "9" * 5000):
        with pytest.raises(ConfigError) as caught:
            check(kind, {"name": name, key: value}, kind)
        (line,) = [line for line in caught.value.problems if line.startswith(f"{kind}.{key} = ")]
        assert ": wants " in line
        assert len(line) < 400


@pytest.mark.parametrize(
    ("table", "key"), [("buffer", "max_bytes"), ("buffer", "flush_interval"), ("statsd", "timeout")]
)
def test_a_size_or_a_time_beyond_all_measure_is_refused(table: str, key: str) -> None:
    for value in (10**400, 10**5000, "9" * 400, "9" * 5000, "9" * 400 + "GB", "9" * 400 + "d", 1e300):
        with pytest.raises(ConfigError, match=rf"^{table}\.{key} = .*: wants "):
            MetlogClient.from_config("null:", **{table: {key: value}})


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"name": "tcp", "timeout": 1e9}, "sender.timeout = 1000000000.0: wants 1000000 seconds at most"),
        ({"name": "udp", "resolve_interval": 1e300}, "sender.resolve_interval = 1e+300: wants at most 1000000000 seconds"),
        ({"name": "udp", "send_buffer": 1 << 31}, "sender.send_buffer = 2147483648: wants a number of bytes, 2147483647 or less"),
        ({"name": "zmq", "hwm": 1 << 31}, "sender.hwm = 2147483648: wants a number of messages, 2147483647 or less"),
        ({"name": "zmq", "linger": 1e9}, "sender.linger = 1000000000.0: wants 1000000 seconds at most"),
        ({"name": "kafka", "linger": 901}, "sender.linger = 901.0: wants a number of seconds, 900 or less"),
        ({"name": "kafka", "give_up": 1e9}, "sender.give_up = 1000000000.0: wants 1000000 seconds at most"),
        ({"name": "kafka", "max_frame": 1 << 30}, "sender.max_frame = 1073741824: wants a number of bytes, 999900000 or less"),
        ({"name": "file", "path": "/tmp/x", "keep": 10**9}, "sender.keep = 1000000000: wants a number of files, 10000 or less"),
    ],
)  # fmt: skip
def test_more_than_what_takes_the_number_can_is_refused_when_it_is_set(spec: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MetlogClient.from_config(sender=spec)
    assert caught.value.problems == [fault]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_made_by_hand_too(value: float) -> None:
    for more in ({"rate": value}, {"rate": 1.0, "burst": value}, {"rate": 1.0, "window": value}):
        with pytest.raises(ValueError, match=f"{list(more)[-1]} = {value}: wants "):
            RateLimit(**more)
    with pytest.raises(ValueError, match=f"rate = {value}: wants "):
        Sample(rate=value)
    with pytest.raises(ValueError, match=f"timeout = {value}: wants "):
        positive("timeout", value, "seconds")
    with pytest.raises(ValueError, match=f"timeout = {value}: wants "):
        at_least("timeout", value, 0, "seconds")


def test_a_share_is_no_smaller_than_what_a_weight_can_say() -> None:
    Sample(rate=1e-15)
    with pytest.raises(ValueError, match=r"rate = 1e-16: wants more than 0 \(at least 1e-15\), up to 1"):
        Sample(rate=1e-16)
