"""Pauses between attempts, and hosts as texts."""

from __future__ import annotations

from itertools import islice

import pytest

from metlog.core.backoff import Backoff
from metlog.core.hosts import bare, bracketed, host_port


def test_pauses_double_up_to_the_most_and_begin_again_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0, jitter=0.0)
    assert list(islice(backoff, 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.pause() == 0.5


def test_the_first_pause_is_no_longer_than_the_most() -> None:
    assert Backoff(5.0, 0.2, jitter=0.0).pause() == 0.2


def test_jitter_takes_off_up_to_its_share() -> None:
    pauses = [Backoff(8.0, 8.0, jitter=0.25).pause() for _ in range(500)]
    assert all(6.0 < pause <= 8.0 for pause in pauses)
    assert max(pauses) - min(pauses) > 1.0


@pytest.mark.parametrize(("host", "url"), [("::1", "[::1]"), ("10.0.0.1", "10.0.0.1"), ("collector", "collector")])
def test_an_ipv6_address_stands_in_brackets(host: str, url: str) -> None:
    assert bracketed(host) == url
    assert host_port(host, 5565) == f"{url}:5565"
    assert bare(f" {url} ") == host
