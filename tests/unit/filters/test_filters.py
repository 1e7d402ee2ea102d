from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog import MetlogClient
from metlog.event import Event
from metlog.filters.rate_limit import RateLimit
from metlog.filters.redact import Redact
from metlog.filters.sample import Sample
from metlog.filters.severity import SeverityMax
from metlog.filters.types import TypeAllow, TypeDeny, TypeSeverityMax

SECRET = "hunter2-tiger"


def event(**values: Any) -> Event:
    return Event(**{"type": "a", **values})


def test_types_and_severities_are_kept_and_dropped() -> None:
    assert SeverityMax(severity=3)(event(severity=4)) is None
    assert SeverityMax(severity=3)(event(severity=3)) is not None
    assert TypeAllow(types=["a"])(event()) is not None
    assert TypeAllow(types=["b"])(event()) is None
    assert TypeDeny(types=["a"])(event()) is None
    assert TypeDeny(types=["b"])(event()) is not None
    assert TypeSeverityMax(types={"a": 3})(event(severity=4)) is None
    assert TypeSeverityMax(types={"b": 3})(event(severity=4)) is not None


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: SeverityMax(severity=8), "severity = 8"),
        (lambda: TypeAllow(types=[]), "types"),
        (lambda: TypeSeverityMax(types={"a": -1}), "types.a"),
        (lambda: Sample(rate=0), "rate"),
        (lambda: Sample(rate=1.5), "rate"),
        (lambda: RateLimit(rate=0), "rate"),
        (lambda: RateLimit(rate=1, burst=0), "burst"),
        (lambda: RateLimit(rate=1, window=0), "window"),
        (lambda: Redact(), "does nothing"),
        (lambda: Redact(mask=["("]), "regular expression"),
        (lambda: Redact(mask=["x*"]), "empty"),
        (lambda: Redact(drop=["a..b"]), "'a..b'"),
        (lambda: Redact(pseudonymize=["user"]), "key"),
    ],
)
def test_wrong_options_are_named(make: Any, word: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make()
    assert word in str(caught.value)


def test_sample_by_field_is_all_or_nothing_and_sets_the_weight() -> None:
    sample = Sample(rate=0.25, field="user.id")
    kept = {n for n in range(2000) if sample(event(fields={"user": {"id": n}}))}
    assert kept == {n for n in range(2000) if sample(event(fields={"user": {"id": n}}))}
    assert 350 < len(kept) < 650
    one = sample(event(fields={"user": {"id": min(kept)}}, weight=2.0))
    assert one is not None
    assert one.weight == 8.0


def test_sample_by_chance_leaves_other_types_alone() -> None:
    sample = Sample(rate=0.5, types=["b"])
    assert all(sample(event()) for _ in range(100))
    assert 100 < sum(sample(event(type="b")) is not None for _ in range(400)) < 300


def test_rate_limit_tells_what_it_suppressed() -> None:
    told: list[Event] = []
    limit = RateLimit(rate=1, burst=3, window=5)
    limit.emit = told.append
    kept = [limit(event(weight=2.0)) for _ in range(10)]
    assert sum(item is not None for item in kept) == 3
    limit.tick(0)
    assert told == []
    limit.close()
    assert (told[0].type, told[0].payload) == ("suppressed", "7")
    assert told[0].fields["type"] == "a"
    assert told[0].fields["weight"] == 14.0
    limit.close()
    assert len(told) == 1


def test_rate_limit_keeps_a_bounded_number_of_types() -> None:
    limit = RateLimit(rate=1, max_types=10)
    for n in range(100):
        limit(event(type=f"t{n}"))
    assert len(limit._buckets) == 11


def test_rate_limit_ends_its_window_without_another_event() -> None:
    spec = {"name": "rate_limit", "rate": 0.001, "burst": 1, "window": 0.05}
    client = MetlogClient.from_config("memory:", filters=[spec], buffer={"flush_interval": 0.02})
    for _ in range(5):
        client.log("noisy")
    deadline = threading.Event()
    for _ in range(200):
        frames = b"".join(client.sender.frames)
        if b'"suppressed"' in frames:
            break
        deadline.wait(0.02)
    assert b'"suppressed"' in frames
    client.close()


def test_redact_drops_by_path_with_wildcards() -> None:
    redact = Redact(drop=["password", "*.token", "**.secret", "list.1"])
    fields = {
        "password": 1, "a": {"token": 1, "b": {"token": 2, "secret": 3}}, "secret": 4, "list": [1, 2, {"secret": 5}],
    }  # fmt: skip
    made = redact(event(fields=fields))
    assert made is not None
    assert made.fields == {"a": {"b": {"token": 2}}, "list": [1, {}]}
    assert fields["password"] == 1
    assert fields["a"]["b"]["secret"] == 3  # type: ignore[index]


@pytest.mark.parametrize(
    "pattern", ["header.cookie", "header.*", "*.cookie", "**.cookie", "**", "*", "header", "head*", "**.header.cookie"]
)
def test_redact_finds_a_field_whose_own_name_has_dots(pattern: str) -> None:
    """The middleware's `header.cookie` and `query.token` are one name each: a path reaches them as it reaches nested fields."""
    fields = {"header.cookie": "s3cret", "header": {"cookie": "s3cret"}}
    assert "s3cret" not in repr(Redact(drop=[pattern])(event(fields=fields)))
    deeper = {"request": {"header.cookie": "s3cret"}}
    found = Redact(drop=[f"request.{pattern}"])(event(fields=deeper))
    assert "s3cret" not in repr(found)
    hidden = Redact(pseudonymize=[pattern], key="k" * 32)(event(fields=fields))
    assert "s3cret" not in repr(hidden)
    assert Redact(drop=["header.cook", "heade.cookie", "cookie"])(event(fields=fields)).fields == fields  # type: ignore[union-attr]


@pytest.mark.process
def test_redact_is_not_drowned_by_a_name_full_of_dots() -> None:
    """Not even where each `**` and `*` could be tried at every place: 150,000 to the fourth power would take for ever."""
    program = """
from metlog import Event
from metlog.filters.redact import Redact
redact = Redact(drop=["**.a.**.b.**.c.**.cookie", "*a*b*c*cookie", "**.*a*.b*.**.cookie"])
for name, found in (("a.b.c." * 50_000, {".a.b.c.cookie"}), ("abc" * 50_000, {".a.b.c.cookie", "abccookie"})):
    for end in ("cook", ".a.b.c.cookie", "abccookie"):
        assert len(redact(Event(type="t", fields={name + end: 1})).fields) == (end not in found), (name[:6], end)
assert not redact._rules.codes
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_redact_keeps_and_pseudonymises_a_field_whose_own_name_has_dots() -> None:
    fields = {"header.cookie": "c", "query.a": "q", "a.b": {"c": 1, "d": 2}}
    for keep, left in (
        (["header.cookie"], {"header.cookie": "c"}), (["query"], {"query.a": "q"}), (["a.b.c"], {"a.b": {"c": 1}}),
    ):  # fmt: skip
        made = Redact(keep=keep)(event(fields=fields))
        assert made is not None
        assert made.fields == left
    made = Redact(pseudonymize=["query.a"], key="k" * 32)(event(fields=fields))
    assert made is not None
    assert len(made.fields["query.a"]) == 64


def test_redact_keeps_only_what_is_allowed() -> None:
    made = Redact(keep=["user.id", "path"])(
        event(fields={"user": {"id": 1, "name": "n"}, "path": {"x": 1}, "other": 2})
    )
    assert made is not None
    assert made.fields == {"user": {"id": 1}, "path": {"x": 1}}


def test_pseudonyms_are_stable_and_hide_the_value() -> None:
    redact = Redact(pseudonymize=["user"], key="k" * 32)
    first, again, other = (redact(event(fields={"user": user})) for user in ("ann", "ann", "bob"))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.fields == again.fields != other.fields
    assert len(first.fields["user"]) == 64


@pytest.mark.parametrize(
    ("address", "cut"),
    [("192.0.2.77", "192.0.2.0"), ("2001:db8:1:2::9", "2001:db8:1::"), ("::ffff:192.0.2.77", "192.0.2.0"), ("x", None)],
)
def test_addresses_are_cut(address: str, cut: str | None) -> None:
    made = Redact(cut_ip=["ip"])(event(fields={"ip": address}))
    assert made is not None
    assert made.fields == {"ip": cut}


@pytest.mark.parametrize(
    ("name", "text", "masked"),
    [
        ("email", "to ann.b+c@mail.example.org now", "to *** now"),
        ("ipv4", "from 192.0.2.7:80 v1.2.3", "from ***:80 v1.2.3"),
        ("ipv4", "999.1.1.1", "999.1.1.1"),
        ("ipv6", "at 2001:db8::1 12:30", "at *** 12:30"),
        ("credit_card", "card 4111 1111 1111 1111.", "card ***."),
        ("credit_card", "number 4111111111111112", "number 4111111111111112"),
    ],
)
def test_ready_made_masks(name: str, text: str, masked: str) -> None:
    made = Redact(mask=[name])(event(payload=text, fields={"a": [{"b": text}]}))
    assert made is not None
    assert made.payload == masked
    assert made.fields == {"a": [{"b": masked}]}


def test_a_number_and_an_exception_are_masked_too() -> None:
    made = Redact(mask=["credit_card", "tiger"])(event(fields={"n": 4111111111111111, "e": ValueError("a tiger")}))
    assert made is not None
    assert made.fields["n"] == "***"
    assert "tiger" not in made.fields["e"]


NESTED = st.recursive(
    st.just(SECRET) | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just(SECRET), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(fields=st.dictionaries(st.text(max_size=4), NESTED, max_size=4), payload=st.sampled_from(["", f"x{SECRET}y"]))
def test_no_secret_survives_masking(fields: dict[str, Any], payload: str) -> None:
    made = Redact(mask=[SECRET])(event(fields=fields, payload=payload, tokens=(SECRET,)))
    assert made is not None
    assert SECRET not in repr(made)


@pytest.mark.parametrize("encoder", ["json", "msgpack", "text"])
def test_the_secret_is_not_on_the_wire(encoder: str) -> None:
    filters = [{"name": "redact", "drop": ["password"], "mask": [SECRET]}]
    with MetlogClient.from_config("memory:", encoder=encoder, filters=filters, fields={"own": SECRET}) as client:
        try:
            raise RuntimeError(f"cannot log in with {SECRET}")
        except RuntimeError:
            client.exception("failed: %s", SECRET, password=SECRET)
        client.log(("login", SECRET), fields={"deep": [{"x": (SECRET,)}]})
        sender = client.sender
    assert len(sender.frames) >= 1
    assert SECRET.encode() not in b"".join(sender.frames)
