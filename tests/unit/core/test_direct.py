"""The other ways of an event than `MetlogClient.log`: what comes out is the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

import metlog
from metlog import Event, MetlogClient
from metlog.core.direct import log_direct
from metlog.filters import BaseFilter
from metlog.filters.redact import Redact
from metlog.filters.sample import Sample
from metlog.filters.types import TypeDeny
from metlog.values import MARK


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:", logger="svc", fields={"unit": "web"}, buffer={"flush_interval": 60})
    yield made
    made.close()


def events(client: MetlogClient) -> list[Event]:
    assert client.flush(5)
    return list(client.sender.events)


def told(event: Event) -> tuple[Any, ...]:
    return event.type, event.tokens, event.logger, event.severity, event.payload, event.fields, event.weight


def test_the_short_way_gives_the_event_of_the_long_one(client: MetlogClient) -> None:
    bound = client.bind(shop="a")
    for used in (client, bound):
        with metlog.context(request="r1"):
            assert log_direct(used, ("a", "b"), 4, "text", {"n": 1, "request": "mine"})
            used.log(("a", "b"), "text", severity=4, fields={"n": 1, "request": "mine"})
        assert log_direct(used, ("a", "b"), 6, "", {"x": 1.5}, True)
        used.log(("a", "b"), fields={"x": 1.5})
    found = events(client)
    assert len(found) == 8
    assert [event.seq for event in found] == list(range(1, 9))
    for short, long in zip(found[::2], found[1::2], strict=True):
        assert told(short) == told(long)


@pytest.mark.parametrize("value", [[1], {"a": 1}, math.nan, -math.inf, 2**63, -(2**63) - 1, object()])
def test_a_value_that_has_to_be_looked_at_is_left_to_log(client: MetlogClient, value: Any) -> None:
    assert not log_direct(client, ("a",), 6, "", {"value": value})
    assert events(client) == []
    assert client.stats().accepted == 0


@pytest.mark.parametrize("filters", [[{"name": "sample", "rate": 0.5}], [{"name": "redact", "drop": ["password"]}]])
def test_an_event_that_filters_have_a_say_in_is_left_to_log(filters: list[dict[str, Any]]) -> None:
    with MetlogClient.from_config("memory:", filters=filters) as client:
        assert not log_direct(client, ("a",), 6, "", {})


def test_a_client_that_refuses_is_left_to_log() -> None:
    client = MetlogClient.from_config("memory:", filters=[{"name": "severity_max", "severity": 4}])
    assert not log_direct(client, ("a",), 6, "", {})
    assert log_direct(client, ("a",), 4, "", {})
    client.close()
    assert not log_direct(client, ("a",), 4, "", {})
    assert not log_direct(MetlogClient(), ("a",), 4, "", {})


def test_a_timer_goes_through_a_log_of_the_applications_own() -> None:
    class Mine(MetlogClient):
        def log(self, tokens: Any, msg: Any = "", **rest: Any) -> None:
            super().log(("mine", *tokens), msg, **rest)

    with Mine.from_config("memory:") as client:
        client.timer_send("work", 1.5)
        client.bind(a=1).timer_send("work", 1.5)
        assert [event.type for event in events(client)] == ["mine", "mine"]


def test_a_timer_goes_through_a_log_that_was_added(client: MetlogClient) -> None:
    seen: list[Any] = []

    def log(client: MetlogClient, tokens: Any, *args: Any, **rest: Any) -> None:
        seen.append(tokens)

    bound = client.bind(a=1)
    client.add_method(log, override=True)
    for used in (client, bound, client.bind(b=1)):
        used.timer_send("work", 1.5)
    assert seen == [("timer", "work")] * 3
    assert events(client) == []


@pytest.mark.parametrize(
    "ms", [0.0, -0.0, 5e-324, 9.9e-05, 0.0001, 0.1 + 0.2, 12.5, 1e15, 9999999999999998.0, 1e16, 1.7e308, -3.5]
)
def test_the_payload_of_a_timer_is_its_number(client: MetlogClient, ms: float) -> None:
    client.timer_send("work", ms)
    (event,) = events(client)
    assert (event.type, event.tokens, event.payload) == (
        "timer",
        ("timer", "work"),
        {9.9e-05: "0.000099"}.get(ms, str(ms)),  # without an exponent, as in `ms`
    )
    assert event.fields == {"unit": "web", "name": "work", "ms": ms}


def test_a_timer_of_no_number_and_one_of_no_name_are_told(client: MetlogClient) -> None:
    client.timer_send("work", math.nan)
    client.timer_send(7, 1.5)  # type: ignore[arg-type]
    first, second = events(client)
    assert first.fields["ms"] is None
    assert "metlog.repaired" in first.fields
    assert second.tokens == ("timer", "7")


class Blind(BaseFilter):
    """Drops by the payload, and keeps what it is given."""

    early_needs_fields = False

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, event: Event, /) -> Event | None:
        return None if event.payload == "drop" else event

    def early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
        self.seen.append(fields)
        return 0.0 if payload == "drop" else 3.0


def test_filters_that_do_not_look_at_fields_decide_before_there_are_any(client: MetlogClient) -> None:
    blind = Blind()
    client._state.pipeline.set_filters([blind, TypeDeny(types=["b"])])
    for kind in ("a", "b"):
        for payload in ("keep", "drop"):
            client.log(kind, payload, n=1)
            client.log(kind, payload, n=[1])
    assert blind.seen == [{}] * 8
    found = events(client)
    assert [(event.type, event.payload, event.fields["n"], event.weight) for event in found] == [
        ("a", "keep", 1, 3.0), ("a", "keep", [1], 3.0),
    ]  # fmt: skip
    assert client.stats().filtered == 6


def test_beside_a_filter_that_looks_at_fields_they_are_given(client: MetlogClient) -> None:
    blind = Blind()
    client._state.pipeline.set_filters([blind, Redact(drop=["password"])])
    client.log("a", "keep", n=1, password="x")
    assert blind.seen[0]["n"] == 1
    (event,) = events(client)
    assert (event.fields, event.weight) == ({"unit": "web", "n": 1}, 3.0)


def test_what_such_a_filter_raises_drops_the_event(client: MetlogClient, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = Blind()
    monkeypatch.setattr(blind, "seen", None)  # append raises
    client._state.pipeline.set_filters([blind])
    client.log("a", "keep")
    stats = client.stats()
    assert (stats.accepted, stats.filtered, stats.errors) == (0, 1, 1)


def test_a_subclass_with_an_early_of_its_own_is_given_the_fields() -> None:
    class Own(Sample):
        def early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
            return 1.0 if "keep" in fields else 0.0

    class Called(Sample):
        def __call__(self, event: Event, /) -> Event | None:
            return event

    class Looked(Redact):
        def __call__(self, event: Event, /) -> Event | None:
            return None

    assert Own(rate=0.5).early_needs_fields
    assert not Sample(rate=0.5).early_needs_fields
    assert Sample(rate=0.5, field="user").early_needs_fields
    assert Called(rate=0.5).early is None
    assert Looked(drop=["a"]).early is None
    with MetlogClient.from_config("memory:") as client:
        client._state.pipeline.set_filters([Own(rate=0.5)])
        client.log("a", keep=True)
        client.log("a", n=1)
        assert [event.fields for event in events(client)] == [{"keep": True}]


def test_a_share_is_kept_and_weighted(client: MetlogClient) -> None:
    client._state.pipeline.set_filters([Sample(rate=0.25)])
    for number in range(2000):
        client.log("a", n=number if number % 2 else [number])
    found = events(client)
    assert 350 < len(found) < 650
    assert {event.weight for event in found} == {4.0}
    stats = client.stats()
    assert stats.accepted + stats.filtered == 2000


@pytest.mark.parametrize("encoder", ["json", "msgpack"])
def test_small_frames_go_several_at_once_each_within_its_limit(encoder: str) -> None:
    buffer = {"flush_interval": 60, "max_frame": 1432}
    with MetlogClient.from_config("memory:", encoder=encoder, buffer=buffer) as client:
        lengths = []
        for number in range(400):
            client.log("a", "x" * 100, n=number)
            lengths.append(len(client.sender.frames))
        steps = {after - before for before, after in pairwise(lengths[200:])}
        assert max(steps) > 2
        assert client.flush(5)
        found = [event for frame in client.sender.frames for event in client.encoder.decode(frame)]
        assert [event.seq for event in found] == list(range(1, 401))
        assert max(map(len, client.sender.frames)) <= 1432
        assert sum(map(len, client.sender.frames)) / len(client.sender.frames) > 1000


@pytest.mark.parametrize("encoder", ["json", "msgpack"])
@pytest.mark.parametrize("weight", [math.inf, math.nan, 1e16, -1.0])
@pytest.mark.parametrize("needs_fields", [True, False])
def test_a_weight_of_a_filter_that_no_receiver_takes_is_put_right(
    encoder: str, weight: float, needs_fields: bool
) -> None:
    class Weighs(BaseFilter):
        early_needs_fields = needs_fields

        def __call__(self, event: Event, /) -> Event | None:
            raise NotImplementedError

        def early(self, *call: Any) -> float:
            return weight

    with MetlogClient.from_config("memory:", encoder=encoder, filters=[Weighs()]) as client:
        client.log("login")
        (event,) = events(client)
    assert event.weight == 1.0
    assert event.fields == {MARK: ["weight: not a number above 0 and up to 1e+15; became 1"]}
