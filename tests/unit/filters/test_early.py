"""What a filter decides before an event is built is what it decides with the event."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog import MetlogClient
from metlog.event import Event
from metlog.filters import BaseFilter
from metlog.filters._masks import MASKS, may_find
from metlog.filters.redact import Redact
from metlog.filters.sample import Sample
from metlog.filters.types import TypeAllow, TypeDeny, TypeSeverityMax
from tests.unit.filters import texts_with_finds

KEY = "k" * 32
FILTERS: list[BaseFilter] = [
    Sample(rate=0.5, field="user"),
    Sample(rate=0.5, field="user", types=["login"]),
    Sample(rate=1),
    TypeAllow(types=["login"]),
    TypeDeny(types=["login"]),
    TypeSeverityMax(types={"login": 4}),
    Redact(drop=["user"]),
    Redact(keep=["user", "path"]),
    Redact(pseudonymize=["user"], cut_ip=["ip"], key=KEY),
    Redact(drop=["ip"], keep=["ip", "user"], pseudonymize=["user"], key=KEY),
    Redact(mask=list(MASKS)),
    Redact(mask=["secret"], drop=["path"]),
    Redact(mask=["email", "secret"], mask_with="<x>", pseudonymize=["user"], key=KEY),
]
NAMES = st.sampled_from(["user", "path", "ip", "n", "header.cookie", "a", "ann@example.org", 7])
TEXTS = st.one_of(st.sampled_from(texts_with_finds), st.text(max_size=20))
VALUES = st.one_of(
    TEXTS, st.integers(), st.floats(), st.booleans(), st.none(), st.lists(TEXTS, max_size=2), st.dictionaries(NAMES, TEXTS, max_size=2),
    st.just("10.1.2.3"), st.just(4111111111111111), st.just(b"secret"),
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


@pytest.mark.parametrize("number", range(len(FILTERS)))
@given(
    tokens=st.lists(st.one_of(st.sampled_from(["login", "logout", "ann@example.org"]), TEXTS), min_size=1, max_size=3),
    severity=st.integers(0, 7),
    payload=TEXTS,
    fields=st.dictionaries(NAMES, VALUES, max_size=6),
    logger=st.sampled_from(["svc", "ann@example.org"]),
)
def test_it_does_what_the_call_does(
    number: int, tokens: list[str], severity: int, payload: str, fields: dict[Any, Any], logger: str
) -> None:
    subject = FILTERS[number]
    subject.logger = logger
    assert subject.early is not None
    mine = copy.deepcopy(fields)
    factor = subject.early(tuple(tokens), severity, payload, mine)
    if factor is None:
        assert same(mine, fields), "changed, and says that it cannot say"
        return
    event = Event(
        type=tokens[0], tokens=tuple(tokens), severity=severity, payload=payload, fields=fields, logger=logger
    )
    kept = subject(event)
    if kept is None:
        assert factor == 0
        return
    assert (kept.type, kept.tokens, kept.payload, kept.logger) == (tokens[0], tuple(tokens), payload, logger)
    assert kept.weight == factor
    assert same(sorted(kept.fields.items(), key=repr), sorted(mine.items(), key=repr))


@given(text=st.one_of(TEXTS, st.lists(TEXTS, max_size=4).map(" ".join)))
def test_a_text_that_passes_at_a_glance_holds_nothing_that_a_mask_finds(text: str) -> None:
    if not may_find(text):
        assert all(mask(text, "***") == text for mask in MASKS.values())


@pytest.mark.parametrize("text", texts_with_finds)
def test_a_text_that_a_mask_finds_something_in_does_not_pass_at_a_glance(text: str) -> None:
    assert any(mask(text, "***") != text for mask in MASKS.values())
    assert may_find(text)


def test_a_filter_that_writes_its_own_call_does_not_inherit_it() -> None:
    class Mine(TypeDeny):
        def __call__(self, event: Event, /) -> Event | None:
            return event

    assert Mine(types=["a"]).early is None

    class Named(TypeDeny):
        pass

    assert Named(types=["a"]).early is not None


def test_paths_that_lie_deeper_need_the_event() -> None:
    assert Redact(drop=["**.user"]).early is None
    assert Redact(keep=["a.b"]).early is None


def test_filters_before_one_that_needs_the_event_are_asked_once() -> None:
    class Last(BaseFilter):
        def __call__(self, event: Event, /) -> Event | None:
            event.fields["seen"] = True
            return event

    filters = [Redact(pseudonymize=["user"], key=KEY), Last()]
    with MetlogClient.from_config({"sender": "memory:"}) as client:
        client._state.pipeline.set_filters(filters)
        client.log("a", user="u1")
        client.log("a", user=["u1"])
        client.flush(5)
        one, several = client.sender.events
    assert one.fields["user"] == several.fields["user"][0]
    assert one.fields["seen"] is several.fields["seen"] is True


def test_what_an_early_look_raises_drops_the_event_and_is_counted() -> None:
    class Broken(BaseFilter):
        def __call__(self, event: Event, /) -> Event | None:
            return event

        def early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
            raise ValueError("broken")

    with MetlogClient.from_config({"sender": "memory:"}) as client:
        client._state.pipeline.set_filters([Broken()])
        client.log("a", password="x")
        client.flush(5)
        stats = client.stats()
    assert (stats.accepted, stats.filtered, stats.errors) == (0, 1, 1)


@pytest.mark.parametrize("encoder", ["json", "msgpack"])
def test_the_weight_of_a_sampled_event_travels(encoder: str) -> None:
    filters = [{"name": "sample", "rate": 0.25}, {"name": "sample", "rate": 0.5, "types": ["a"]}]
    with MetlogClient.from_config({"sender": "memory:", "encoder": encoder, "filters": filters}) as client:
        for _ in range(300):
            client.log("a", n=1)
            client.log("b", n=[1])
        client.flush(5)
        found = {(event.type, event.weight) for event in client.sender.events}
        assert found == {("a", 8.0), ("b", 4.0)}
        stats = client.stats()
        assert stats.accepted + stats.filtered == 600
        assert stats.accepted == stats.sent


@pytest.mark.parametrize("answer", [1.0, 1, True, 3, 2.5, 0, 0.0, False, None, "x", "", [], [1], ZeroDivisionError])
def test_one_filter_alone_does_what_it_does_before_another(answer: Any) -> None:
    class Answers(BaseFilter):
        def __call__(self, event: Event, /) -> Event | None:
            event.fields["called"] = True
            return event

        def early(self, *call: Any) -> Any:
            if answer is ZeroDivisionError:
                raise ZeroDivisionError
            return answer

    outcomes = []
    for filters in ([Answers()], [Answers(), Sample(rate=1)]):
        with MetlogClient.from_config({"sender": "memory:"}) as client:
            client._state.pipeline.set_filters(filters)
            client.log("a", user="u1")
            client.flush(5)
            stats = client.stats()
            outcomes.append(
                ([(e.fields, e.weight) for e in client.sender.events], stats.accepted, stats.filtered, stats.errors)
            )
    alone, before = outcomes
    assert alone == before
    assert alone[1] + alone[2] == 1
