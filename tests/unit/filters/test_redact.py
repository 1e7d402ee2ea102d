"""What `redact` removes, and what gets past it in no form."""

from __future__ import annotations

import hashlib
import hmac
import threading
from argparse import Namespace
from collections import ChainMap, OrderedDict, UserDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase
from ipaddress import ip_address
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog import MetlogClient
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.errors import ConfigError
from metlog.event import Event
from metlog.filters.redact import Redact, cut_ip
from metlog.plugins import build

SECRET = "hunter2-tiger"
KEY = "k" * 32


def redacted(fields: Any, **options: Any) -> Any:
    made = Redact(**options)(Event(type="a", fields=fields))
    assert made is not None
    return made.fields


def written(fields: Any, **options: Any) -> bytes:
    """What both encoders make of it, one after another."""
    made = Redact(**options)(Event(type="a", fields=fields))
    assert made is not None
    return b"".join(encoder.frame([encoder.encode(made)]) for encoder in (JsonEncoder(), MsgpackEncoder()))


@pytest.mark.parametrize(
    ("path", "fields", "left"),
    [
        ("a", {"a": 1, "b": 2, "A": 3, "ab": 4}, {"b": 2, "A": 3, "ab": 4}),
        ("a.b", {"a": {"b": 1, "c": 2}, "b": 3}, {"a": {"c": 2}, "b": 3}),
        ("a.b", {"a.b": 1, "a": {"c.d": 2}}, {"a": {"c.d": 2}}),  # names with dots, as OpenTelemetry has them
        ("a.b.c", {"a": {"b.c": 1}, "a.b": {"c": 2}}, {"a": {}, "a.b": {}}),
        ("*.b", {"b": 1, "a": {"b": 2, "c": {"b": 3}}}, {"b": 1, "a": {"c": {"b": 3}}}),
        ("**.b", {"b": 1, "a": {"b": 2, "c": {"b": 3}, "d": [{"b": 4}]}}, {"a": {"c": {}, "d": [{}]}}),
        ("a.**", {"a": {"b": 1}, "b": {"a": 2}}, {"b": {"a": 2}}),
        ("a.**.c", {"a": {"c": 1, "b": {"x": {"c": 2}}}, "c": 3}, {"a": {"b": {"x": {}}}, "c": 3}),
        ("**", {"a": 1}, {}),
        ("card_*", {"card_no": 1, "card": 2, "xcard_": 3}, {"card": 2, "xcard_": 3}),
        ("[Pp]assword", {"Password": 1, "password": 2, "xassword": 3}, {"xassword": 3}),
        ("[!a]x", {"ax": 1, "bx": 2}, {"ax": 1}),
        ("a?", {"ab": 1, "abc": 2}, {"abc": 2}),
        ("list.1", {"list": [1, 2, 3]}, {"list": [1, 3]}),
        ("list.*.b", {"list": [{"b": 1}, {"c": 2}]}, {"list": [{}, {"c": 2}]}),
        ("a+b", {"a+b": 1, "aab": 2}, {"aab": 2}),  # no regular expression
        ("1", {1: "x", "2": "y"}, {"2": "y"}),
    ],
)
def test_drop_by_path(path: str, fields: dict[Any, Any], left: dict[str, Any]) -> None:
    assert redacted(fields, drop=[path]) == left


def names(path: list[str], segments: list[str]) -> bool:
    """Whether a path names the beginning of these names: by trying everything."""
    if not path:
        return True
    if path[0] == "**":
        return any(names(path[1:], segments[n:]) for n in range(len(segments) + 1))
    return bool(segments) and fnmatchcase(segments[0], path[0]) and names(path[1:], segments[1:])


SOME_NAME = st.text("ab", max_size=4)
SOME_PATH = st.lists(
    st.just("**") | st.lists(st.sampled_from(["a", "b", "*", "?", "[!a]"]), min_size=1, max_size=5).map("".join),
    min_size=1,
    max_size=5,
).filter(lambda path: not any("**" in part and part != "**" for part in path))


@given(SOME_PATH, st.lists(SOME_NAME, min_size=1, max_size=6), st.data())
def test_a_path_finds_nested_fields_and_names_with_dots_alike(path: list[str], segments: list[str], data: Any) -> None:
    fields: Any = SECRET
    for index in reversed(range(len(segments))):  # some are joined by a dot, some nested
        if index == len(segments) - 1 or data.draw(st.booleans()):
            fields = {segments[index]: fields}
        else:
            ((name, value),) = fields.items()
            fields = {f"{segments[index]}.{name}": value}
    assert (SECRET not in repr(redacted(fields, drop=[".".join(path)]))) == names(path, segments)
    assert (SECRET in repr(redacted(fields, keep=[".".join(path)]))) == names(path, segments)


PLAIN = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True)
SOME_FIELDS = st.dictionaries(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join),
    st.sampled_from(["192.0.2.77", {"a": "192.0.2.77"}, ["x"], 7, None]),
    max_size=6,
)


@given(SOME_FIELDS, PLAIN, st.none() | PLAIN, PLAIN, PLAIN)
def test_plain_names_do_without_the_walk_what_it_would_do(
    fields: dict[str, Any], drop: list[str], keep: list[str] | None, pseudonymize: list[str], cut_ip: list[str]
) -> None:
    options: dict[str, Any] = {"drop": [*drop, "x"], "keep": keep, "pseudonymize": pseudonymize, "cut_ip": cut_ip}
    if pseudonymize:
        options["key"] = KEY
    slow = Redact(**options)
    assert slow._by_name
    slow._by_name = False
    made = slow(Event(type="a", fields=fields))
    assert made is not None
    assert redacted(fields, **options) == made.fields


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (["user.id"], {"user": {"id": 1}}),
        (["user"], {"user": {"id": 1, "name": "n"}}),
        (["**.id"], {"user": {"id": 1}, "items": [{"id": 5}]}),
        (["items.*.id", "x"], {"items": [{"id": 5}]}),
        ([], {}),
    ],
)
def test_keep_is_an_allow_list(keep: list[str], left: dict[str, Any]) -> None:
    fields = {"user": {"id": 1, "name": "n"}, "items": [{"id": 5, "price": 2}, {"price": 3}], "other": SECRET}
    assert redacted(fields, keep=keep) == left
    assert redacted(fields, keep=keep, drop=["user.id"]).get("user", {}).get("id") is None


def test_pseudonyms_are_hmac_sha256_and_count_the_same() -> None:
    options = {"pseudonymize": ["user", "users", "who.*", "nothing"], "key": KEY}
    made = redacted({"user": "ann", "users": ["ann", "bob"], "who": {"a": 7, "b": "7"}, "nothing": None}, **options)
    ann = hmac.new(KEY.encode(), b"ann", hashlib.sha256).hexdigest()
    assert made["user"] == ann
    assert made["users"][0] == ann != made["users"][1]
    assert made["who"]["a"] == made["who"]["b"]
    assert made["nothing"] is None
    assert made["user"] != redacted({"user": "ann"}, **{**options, "key": "j" * 32})["user"]
    whole = redacted({"user": {"b": "ann", "a": 1}}, **options)["user"]
    assert whole == redacted({"user": {"a": 1, "b": "ann"}}, **options)["user"]
    assert "ann" not in str(whole)


@pytest.mark.parametrize(
    ("address", "cut"),
    [
        ("192.0.2.77", "192.0.2.0"),
        ("192.0.2.77:8080", "192.0.2.0"),
        (" 192.0.2.77 ", "192.0.2.0"),
        ("2001:db8:1:2::9", "2001:db8:1::"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1::"),
        ("fe80::1:2%eth0", "fe80::"),
        ("::ffff:192.0.2.77", "192.0.2.0"),
        ("2002:c000:024d::1", "2002:c000:200::"),  # 6to4 has a whole IPv4 address in its first 48 bits
        ("192.0.2.77, 2001:db8:1:2::9", "192.0.2.0, 2001:db8:1::"),  # X-Forwarded-For
        ("192.0.2.77, ann", None),
        ("localhost", None),
        ("", None),
    ],
)
def test_addresses_are_cut_and_what_is_none_does_not_slip_through(address: str, cut: str | None) -> None:
    assert cut_ip(address) == cut
    assert redacted(
        {"ip": address, "ips": [address], "obj": ip_address("192.0.2.77")}, cut_ip=["ip", "ips", "obj"]
    ) == {
        "ip": cut,
        "ips": [cut],
        "obj": "192.0.2.0",
    }


class Plan(Enum):
    GOLD = SECRET


@dataclass
class User:
    name: str
    password: str


class Struct(msgspec.Struct):
    name: str
    password: str


class Pair(NamedTuple):
    name: str
    password: str


class Model(pydantic.BaseModel):
    name: str
    password: str


@attrs.define
class Defined:
    name: str
    password: str


class Held(Mapping[str, Any]):
    """A mapping of the application's own."""

    def __init__(self, items: dict[str, Any]) -> None:
        self._items = items

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


class Opaque:
    def __init__(self, password: str) -> None:
        self.password = password

    def __repr__(self) -> str:
        return f"Opaque({self.password})"


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [User("ann", SECRET), Struct("ann", SECRET), UserDict(name="ann", password=SECRET),
     MappingProxyType({"name": "ann", "password": SECRET}), {"name": "ann", "password": SECRET},
     [User("ann", SECRET)], ({"password": SECRET},), {"in": {"password": Text(SECRET)}}, Pair("ann", SECRET),
     Model(name="ann", password=SECRET), [Model(name="ann", password=SECRET)], Defined("ann", SECRET),
     SimpleNamespace(name="ann", password=SECRET),
     Namespace(name="ann", password=SECRET), SimpleNamespace(a=Model(name="ann", password=SECRET)),
     ChainMap({"password": SECRET}),
     OrderedDict(name="ann", password=SECRET), Held({"name": "ann", "password": SECRET}),
     {"k": Held({"in": Held({"password": SECRET})})}],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_dropped_path_is_found_in_objects_as_the_encoders_would_write_them(value: Any) -> None:
    for options in ({"drop": ["**.password"]}, {"pseudonymize": ["**.password"], "key": KEY}, {"keep": ["**.name"]}):
        assert SECRET.encode() not in written({"user": value}, **options), options
    if "ann" in repr(value):
        assert b"ann" in written({"user": value}, drop=["**.password"])
    assert SECRET.encode() in written({"user": value}, drop=["other"])  # the control


@pytest.mark.parametrize(
    "value",
    [SECRET, Text(SECRET), f"x{SECRET}y", [SECRET], {SECRET: 1}, {"a": {"b": [SECRET]}}, (SECRET,), {SECRET}, Plan.GOLD,
     SECRET.encode(), bytearray(SECRET.encode()), memoryview(SECRET.encode()), User("ann", SECRET), Pair("ann", SECRET),
     Opaque(SECRET), ValueError(SECRET), ExceptionGroup("g", [KeyError(SECRET)]), {(SECRET, 1): 2}, [Opaque(SECRET)]],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_masked_text_is_in_no_value_name_or_exception(value: Any) -> None:
    assert SECRET.encode() not in written({"v": value, "kept": "visible"}, mask=[SECRET])
    assert b"visible" in written({"v": value, "kept": "visible"}, mask=[SECRET])


def test_bytes_without_a_secret_stay_what_they_are() -> None:
    assert redacted({"v": b"\xff\x00"}, mask=["x"]) == {"v": b"\xff\x00"}


def test_every_text_of_the_event_is_masked() -> None:
    event = Event(type=f"t-{SECRET}", tokens=(SECRET,), logger=SECRET, payload=f"a {SECRET} b", fields={})
    made = Redact(mask=[SECRET], mask_with="[gone]")(event)
    assert made is not None
    assert SECRET not in repr(made)
    assert (made.type, made.payload) == ("t-[gone]", "a [gone] b")


def test_numbers_are_masked_and_others_left_alone() -> None:
    made = redacted({"card": 4111111111111111, "n": 42, "x": 1.5, "yes": True, "none": None}, mask=["credit_card"])
    assert made == {"card": "***", "n": 42, "x": 1.5, "yes": True, "none": None}


@pytest.mark.parametrize(
    ("number", "left"),
    [
        (0.4111111111111111, None),  # its digits have the check digit of a card
        (41.11111111111111, None),
        (-4.111111111111111e-05, None),
        (4111111111111111.0, "***.0"),  # a card in a column of floats
        (-4111111111111111.5, "-***.5"),
        (4222222222222.5, "***.5"),
    ],
)
def test_a_card_is_looked_for_in_the_whole_part_of_a_float(number: float, left: str | None) -> None:
    wanted = number if left is None else left
    for masks in (["credit_card"], ["credit_card", SECRET]):
        made = redacted({"x": number, "list": [number], "text": "ann@example.org"}, mask=masks)
        assert (made["x"], made["list"]) == (wanted, [wanted])
    assert redacted({"x": 0.125}, mask=[r"\.125", "credit_card"]) == {"x": "0***"}


@pytest.mark.parametrize("ms", [0.4111111111111111, 4.111111111111111e-05])
@pytest.mark.parametrize("timers", ["each", "summary"])
def test_a_measurement_stays_a_number_whatever_its_digits(ms: float, timers: str) -> None:
    with MetlogClient.from_config(
        "memory:", filters=[{"name": "redact", "mask": ["credit_card"]}], timers=timers
    ) as client:
        client.timer_send("t", ms)
        client.timer_send("t", ms, at="4111 1111 1111 1111")
        client.incr("n", 0.4111111111111111)
        assert client.flush(5)
        found = client.sender.events
    assert [event.fields["ms"] for event in found if event.type == "timer"] == [ms, ms]
    assert [float(event.payload) for event in found if event.type == "timer"] == [ms, ms]
    assert [event.fields["count"] for event in found if event.type == "counter"] == [0.4111111111111111]
    assert "***" in [event.fields.get("at") for event in found]


def test_names_that_become_the_same_are_kept_apart() -> None:
    made = redacted({"a@example.org": 1, "b@example.org": 2, "c": 3}, mask=["email"])
    assert made == {"***": 1, "*** (2)": 2, "c": 3}


NAMES = st.sampled_from(["user", "password", "ip", "a b", "", "über", "x" * 200])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
                   st.text(max_size=8), st.sampled_from(["192.0.2.7", "2001:db8::1"]))  # fmt: skip
FIELDS = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
    ),
)
PATHS = st.lists(NAMES.filter(bool), max_size=3)


@given(fields=FIELDS, drop=PATHS, keep=st.none() | PATHS, pseudonymize=PATHS, cut=PATHS)
def test_where_names_alone_count_it_is_the_same_as_by_looking_everywhere(
    fields: dict[str, Any], drop: list[str], keep: list[str] | None, pseudonymize: list[str], cut: list[str]
) -> None:
    options: dict[str, Any] = {"drop": drop, "keep": keep, "pseudonymize": pseudonymize, "cut_ip": cut}
    key = KEY if pseudonymize else None
    if drop or keep is not None or pseudonymize or cut:
        by_name = redacted(fields, **options, key=key)
        assert by_name == redacted(fields, **{**options, "drop": [*drop, "**.no such name"]}, key=key)
        assert not set(drop) & by_name.keys()


def test_names_that_are_no_text_are_found_too() -> None:
    class Name(str):
        __slots__ = ()

    class Key(Enum):
        PASSWORD = "password"

    assert redacted({Name("password"): 1, "b": 2}, drop=["password"]) == {"b": 2}
    assert redacted({Key.PASSWORD: 1, 7: 2, None: 3, "b": 4}, drop=["password", "7", "null"]) == {"b": 4}


def test_what_is_pseudonymized_and_not_kept_is_not_there() -> None:
    fields = {"user": ["ann"], "ip": ["192.0.2.7"], "x": {"user": ["ann"]}, "y": 1}
    options = {"pseudonymize": ["user", "*.user"], "key": KEY, "cut_ip": ["ip"]}
    assert redacted(fields, keep=["y"], **options) == {"y": 1}
    assert redacted(fields, keep=["y", "**.z"], **options) == {"y": 1}


@pytest.mark.slow
def test_names_made_at_run_time_do_not_fill_the_memory() -> None:
    redact = Redact(drop=["**.password"], mask=["email"])
    for number in range(20_000):
        event = redact(Event(type=f"t{number}", fields={f"n{number}": {f"m{number}": 1, "password": 2}}))
        assert event is not None
        assert event.fields == {f"n{number}": {f"m{number}": 1}}
    assert len(redact._rules.codes) <= 4096
    assert len(redact._rules._names) <= 4096


def test_values_that_json_cannot_say_stay_marked() -> None:
    fields = {"when": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("1.5"), "o": object()}
    made = redacted(fields, drop=["**.x"])
    assert made["when"] == "2026-01-01T00:00:00Z"
    assert made["price"] == "1.5"
    assert made["metlog.repaired"] == ["fields.o: object became its repr"]  # as the encoders say it
    frame = written(fields, drop=["x"])  # only names count: the encoder does the rest
    for words in (b'"2026-01-01T00:00:00Z"', b'"price":"1.5"', b"fields.o: object became its repr"):
        assert words in frame
    assert Redact(mask=["o$|o:"])(Event(type="a", fields={"o": object()})).fields["metlog.repaired"] == [  # type: ignore[union-attr]
        "fields.*** object became its repr"
    ]


def test_a_structure_that_holds_itself_ends() -> None:
    loop: dict[str, Any] = {"password": SECRET}
    loop["again"] = [loop, loop]
    made = redacted({"v": loop}, drop=["**.password"])
    assert made["v"] == {"again": ["<circular>", "<circular>"]}
    assert made["metlog.repaired"]


def test_a_structure_that_doubles_at_every_level_ends() -> None:
    grown: list[Any] = [SECRET]
    for _ in range(40):
        grown = [grown, grown]
    frame = written({"v": grown, "last": 1}, mask=[SECRET])
    assert SECRET.encode() not in frame
    assert b"more than 10000 values" in frame


def test_a_structure_that_is_too_deep_is_cut_and_said() -> None:
    deep: Any = SECRET
    for _ in range(300):
        deep = {"d": deep}
    frame = written({"v": deep}, mask=[SECRET])
    assert SECRET.encode() not in frame
    assert b"nested deeper" in frame


def test_the_callers_objects_are_left_as_they_are() -> None:
    fields = {"a": {"password": SECRET, "list": [SECRET]}, "b": User("ann", SECRET)}
    redacted(fields, drop=["**.password"], mask=[SECRET])
    assert fields == {"a": {"password": SECRET, "list": [SECRET]}, "b": User("ann", SECRET)}


def test_a_mapping_that_another_thread_changes_is_read_at_one_moment() -> None:
    shared = {str(n): n for n in range(2000)}
    stop = threading.Event()

    def change() -> None:
        n = 0
        while not stop.is_set():
            shared[f"x{n % 50}"] = n
            shared.pop(f"x{(n + 25) % 50}", None)
            n += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            assert len(redacted({"v": shared}, drop=["x"])["v"]) >= 2000
    finally:
        stop.set()
        thread.join()


def test_tracebacks_are_masked_with_causes_groups_and_notes(tmp_path: Any) -> None:
    def fail() -> None:
        try:
            raise KeyError(f"inner {SECRET}")
        except KeyError as error:
            error.add_note(f"note {SECRET}")
            raise ExceptionGroup(f"group {SECRET}", [ValueError(SECRET)]) from error

    filters = [{"name": "redact", "mask": [SECRET]}]
    with MetlogClient.from_config("memory:", filters=filters) as client:
        try:
            fail()
        except ExceptionGroup as error:
            client.exception("login of %s failed", SECRET)
            client.error("%d", SECRET)  # arguments that do not fit are kept beside the message
            client.log("x", fields={"error": error})
        sender = client.sender
    frames = b"".join(sender.frames)
    assert SECRET.encode() not in frames
    for kept in (b"inner ***", b"note ***", b"group ***", b"login of *** failed", b"metlog.format_error"):
        assert kept in frames


def test_every_fault_of_its_options_is_told() -> None:
    spec = {
        "name": "redact",
        "drop": ["a..b", ""],
        "keep": [".x"],
        "cut_ip": ["[z-a]"],
        "pseudonymize": ["user"],
        "key": "short",
        "mask": ["(", "x*", "emial("],
    }
    with pytest.raises(ConfigError) as caught:
        build("filter", spec, "filters[0]")
    told = caught.value.problems
    starts = ["filters[0].drop = 'a..b'", "filters[0].drop = ''", "filters[0].keep = '.x'", "filters[0].cut_ip = '[z-a]'",
              "filters[0].mask = '('", "filters[0].mask = 'x*'", "filters[0].mask = 'emial('", "filters[0].key: "]  # fmt: skip
    assert [[line for line in told if line.startswith(start)] != [] for start in starts] == [True] * len(starts), told
    assert len(told) == len(starts)
    with pytest.raises(ConfigError, match="key: means nothing without pseudonymize"):
        Redact(drop=["a"], key=KEY)
