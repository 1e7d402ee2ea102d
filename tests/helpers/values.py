"""What the rows of the table "Values that JSON cannot say" (docs/encoders.md) promise: values, and what becomes of each."""

from __future__ import annotations

import math
import re
import sqlite3
import uuid
import warnings
import weakref
from argparse import Namespace
from array import array
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, UserString, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from email import message_from_string
from enum import Enum, IntEnum
from fractions import Fraction
from ipaddress import ip_address
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Annotated, Any, NamedTuple
from unittest.mock import Mock

import attr
import httpx
import msgspec
import multidict
import numpy
import pandas
import pydantic
import sqlalchemy
import starlette.datastructures
import werkzeug.datastructures
import werkzeug.local
import wrapt
from babel.support import LazyProxy
from django.utils.datastructures import MultiValueDict
from django.utils.functional import SimpleLazyObject, lazystr
from django.utils.text import format_lazy
from markupsafe import Markup
from werkzeug.local import LocalProxy


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


@dataclass
class Point:
    x: int
    y: float


class Struct(msgspec.Struct):
    a: int


class Row(NamedTuple):
    user: Any
    more: Any


class Collected:
    """A collection without a `repr` of its own."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Any:
        return iter([1, 2])

    def __contains__(self, item: object) -> bool:
        return False


class Guarded(Collected):
    """The same, and it says what it is."""

    def __repr__(self) -> str:
        return "guarded"


class Keyed:
    """What `dict()` takes, and no Mapping."""

    def keys(self) -> list[str]:
        return ["k"]

    def __getitem__(self, name: str) -> str:
        return "v"


class Lazy:
    """As an ORM's query: looked into, it would run."""

    def __iter__(self) -> Any:
        raise RuntimeError("a query was run")

    __len__ = __contains__ = __getitem__ = __iter__

    def __repr__(self) -> str:
        return "<Lazy query>"


class Detached:
    """As an ORM's row without its session: whatever is asked, it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("not bound to a session")

    def __repr__(self) -> str:
        raise RuntimeError("not bound to a session")


class Longer(timedelta):
    pass


@attr.define
class Attrs:
    a: int


class Model(pydantic.BaseModel):
    user: str = "u1"
    hidden: Annotated[str, pydantic.Field(exclude=True)] = "secret"
    inner: Any


class Root(pydantic.RootModel[list[int]]):
    pass


KEPT = Point(1, 2.5)


def matrix(rows: list[list[int]]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy advises against it
        return numpy.matrix(rows)


def sqlalchemy_row() -> Any:
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        return connection.execute(sqlalchemy.text("SELECT 'u1' AS user, 1 AS n")).one()


def sqlite_row() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    return connection.execute("SELECT 'u1' AS user, 1 AS n").fetchone()


def multi_dicts() -> list[Any]:
    given = [("a", "1"), ("a", "2"), ("b", "3")]
    return [
        werkzeug.datastructures.MultiDict(given), werkzeug.datastructures.ImmutableMultiDict(given),
        MultiValueDict({"a": ["1", "2"], "b": ["3"]}),
        starlette.datastructures.QueryParams(given), starlette.datastructures.FormData(given), httpx.QueryParams(given),
        httpx.Headers(given), multidict.MultiDict(given), multidict.CIMultiDict(given),
    ]  # fmt: skip


def unbound() -> Any:
    return werkzeug.local.Local()("nothing")


class Plain:
    def __repr__(self) -> str:
        return "plain" * 400


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Parsed(int):
    pass


def looped() -> dict[str, Any]:
    inner: dict[str, Any] = {"kept": 1}
    inner["again"] = [inner]
    return inner


def nested(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


def raised() -> ExceptionGroup[Exception]:
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            secret = "local variable"  # noqa: F841 - must not be shown
            raise ExceptionGroup("group", [ValueError("one"), TypeError("two")]) from cause
    except ExceptionGroup as error:
        return error


def traceback(text: Any) -> bool:
    return all(word in text for word in ("KeyError: 'cause'", "ExceptionGroup: group", "ValueError: one", "TypeError: two")) \
        and "local variable" not in text.replace('secret = "local variable"', "")  # fmt: skip


HUGE = "an integer beyond 64 bits (below -2**63 or above 2**64 - 1)"
CASES: dict[str, list[tuple[Any, Any]]] = {
    "NaN, infinity": [(math.nan, None), (-math.inf, None), ([1, {"a": math.inf}], [1, {"a": None}]), ({"a": (math.nan,)}, {"a": [None]})],
    HUGE: [
        (2**64, str(2**64)), (-(2**63) - 1, str(-(2**63) - 1)), ([2**70], [str(2**70)]), ({"a": {"b": 2**70}}, {"a": {"b": str(2**70)}}),
    ],
    "a lone surrogate, in text or in a key": [("\ud800x", "\\ud800x"), ({"\udfff": 1}, {"\\udfff": 1})],
    "`bytes`, `bytearray`, `memoryview`": [(b"\xff\x00", "/wA="), (bytearray(b"a"), "YQ=="), (memoryview(b"x"), "eA==")],
    "`tuple`, `set`, `frozenset`, `range`, and what says of itself that it is a sequence or a set (`deque`, views of a `dict`)": [
        ((1, "a"), [1, "a"]), ({1}, [1]), (frozenset("a"), ["a"]), (range(3), [0, 1, 2]),
        (deque([1]), [1]), ({}.keys(), []), ({1: 2}.values(), [2]), (UserList([1, "a"]), [1, "a"]), (array("i", [1, 2]), [1, 2]),
        (Collected(), [1, 2]),
    ],
    "a named tuple, a row of SQLAlchemy or `sqlite3`, `SimpleNamespace`, `argparse.Namespace`": [
        (Row(1, ("a", Row(2, None))), {"user": 1, "more": ["a", {"user": 2, "more": None}]}), (sqlalchemy_row(), {"user": "u1", "n": 1}),
        (sqlite_row(), {"user": "u1", "n": 1}), (SimpleNamespace(a=1, b=[SimpleNamespace()]), {"a": 1, "b": [{}]}),
        (Namespace(a=1), {"a": 1}),
    ],
    "a mapping, and one with several values a name (werkzeug, Django, Starlette, httpx, multidict)": [
        (UserDict(a=1), {"a": 1}), (OrderedDict(a=1), {"a": 1}), (Counter("aab"), {"a": 2, "b": 1}), (ChainMap({"a": 1}), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}), (Keyed(), {"k": "v"}),
        *[(made, {"a": ["1", "2"], "b": "3"}) for made in multi_dicts()],
        (werkzeug.datastructures.Headers([("A", "1"), ("A", "2"), ("B", "3")]), {"A": ["1", "2"], "B": "3"}),
        (message_from_string("A: 1\nA: 2\nB: 3\n\n"), {"A": ["1", "2"], "B": "3"}),
        (starlette.datastructures.Headers(raw=[(b"a", b"1"), (b"a", b"2"), (b"b", b"3")]), {"a": ["1", "2"], "b": "3"}),
    ],
    "lazy text (translations of Django and Babel), `UserString`": [
        (UserString("Password"), "Password"), (lazystr("Password"), "Password"), (format_lazy("{} {}", lazystr("a"), 1), "a 1"),
        (LazyProxy(lambda: "Password"), "Password"), (Markup("<b>"), "<b>"), ([lazystr("x")], ["x"]),
        ({lazystr("x"): 1}, {"x": 1}),
    ],
    "a proxy (werkzeug, Django's `request.user`, wrapt, `weakref`)": [
        (LocalProxy(lambda: {"a": 1}), {"a": 1}), (LocalProxy(lambda: "text"), "text"), (LocalProxy(lambda: 5), 5),
        (LocalProxy(lambda: LocalProxy(lambda: [1])), [1]), (SimpleLazyObject(lambda: "text"), "text"),
        (SimpleLazyObject(lambda: Point(1, 2.5)), {"x": 1, "y": 2.5}), (wrapt.ObjectProxy({"a": (1,)}), {"a": [1]}),
        (wrapt.ObjectProxy(True), True), (weakref.proxy(KEPT), {"x": 1, "y": 2.5}), ({"a": [LocalProxy(lambda: None)]}, {"a": [None]}),
    ],
    "`datetime`": [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 5, timezone(timedelta(hours=2))), "2026-01-01T00:00:00.000005+02:00"),
        (datetime(2026, 1, 1), "2026-01-01T00:00:00"),
    ],
    "`date`, `time`, `timedelta`": [(date(2026, 1, 1), "2026-01-01"), (time(12, 30), "12:30:00"), (timedelta(1, 1), "P1DT1S")],
    "`Decimal`, `Fraction`, `complex`, `UUID`, IP address, path": [
        (Decimal("1.50"), "1.50"), (Decimal("NaN"), "NaN"), (Fraction(1, 3), "1/3"), (1 + 2j, "(1+2j)"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"), (ip_address("2001:db8::1"), "2001:db8::1"),
        (PurePosixPath("/a/b"), "/a/b"),
    ],
    "`Enum`; a subclass of `str`, `int`, `float`": [(Colour.RED, "red"), (Level.ONE, 1), (Name("n"), "n"), (Parsed(5), 5)],
    "dataclass, `msgspec.Struct`, attrs class, pydantic model": [
        (Point(1, 2.5), {"x": 1, "y": 2.5}), (Struct(a=1), {"a": 1}), (Attrs(1), {"a": 1}),
        (Model(inner=None), {"user": "u1", "inner": None}),
        ([Model(inner=Model(inner=None))], [{"user": "u1", "inner": {"user": "u1", "inner": None}}]), (Root([1]), [1]),
        (Point(Row(1, 2), 1.0), {"x": {"user": 1, "more": 2}, "y": 1.0}),
    ],
    "number, text or truth value of numpy; an array of them": [
        (numpy.float64(1.5), 1.5), (numpy.float32(0.5), 0.5), (numpy.float16(0.5), 0.5), (numpy.longdouble("1.5"), 1.5),
        (numpy.int8(-3), -3),
        (numpy.uint64(2**64 - 1), 2**64 - 1), (numpy.bool_(True), True), (numpy.str_("a"), "a"), (numpy.bytes_(b"a"), "YQ=="),
        (numpy.complex64(1 + 2j), "(1+2j)"), (numpy.array([1, 2]), [1, 2]), (numpy.array([[0.5, 1], [2, 3]]), [[0.5, 1.0], [2.0, 3.0]]),
        (numpy.array(5), 5), (numpy.array("2026-01-01", dtype="datetime64[D]"), "2026-01-01"), (numpy.array([]), []),
        (numpy.array([numpy.longdouble("0.5")]), [0.5]), (numpy.array([True, False]), [True, False]),
        (numpy.array(["a", "bc"]), ["a", "bc"]),
        (numpy.array([None, {"a": (1,)}, "x"], dtype=object), [None, {"a": [1]}, "x"]), (matrix([[1, 2]]), [[1, 2]]),
        (numpy.array([(1, "a")], dtype=[("n", "i4"), ("t", "U1")]), [{"n": 1, "t": "a"}]),
        (numpy.ma.masked_array([1, 2], mask=[False, True]), [1, None]), (numpy.array([2**64 - 1], dtype="uint64"), [2**64 - 1]),
        (numpy.zeros((2, 0)), [[], []]), (numpy.array([1 + 2j]), ["(1+2j)"]),
    ],
    "numpy's `longdouble` that a 64-bit number cannot say": [
        (numpy.longdouble("0.1"), "0.1"),
        (numpy.array([numpy.longdouble("1e400")]), lambda v: str(v[0]).startswith("1e+400")),
    ],
    "numpy's `datetime64` and `timedelta64`, pandas' `Timestamp` and `Timedelta`": [
        (numpy.datetime64("2026-01-01T00:00:00.000000001", "ns"), "2026-01-01T00:00:00.000000001"),
        (numpy.datetime64("2026-01-01"), "2026-01-01"), (numpy.datetime64("2026-01-01T12:30", "us"), "2026-01-01T12:30:00.000000"),
        (numpy.array(["2026-01-01"], dtype="datetime64[ns]"), ["2026-01-01T00:00:00.000000000"]),
        (numpy.array("2026-01-01T01", dtype="datetime64[ns]"), "2026-01-01T01:00:00.000000000"),
        (numpy.timedelta64(90_061, "s"), "P1DT3661S"), (numpy.timedelta64(-1, "ns"), "-PT0.000000001S"), (numpy.timedelta64(3, "Y"), "P3Y"),
        (numpy.timedelta64(0, "s"), "P0D"), (numpy.array([1500], dtype="timedelta64[ms]"), ["PT1.5S"]), (numpy.timedelta64(7), 7),
        (pandas.Timestamp("2026-01-01T00:00:00.000000001", tz="UTC"), "2026-01-01T00:00:00.000000001Z"),
        (pandas.Timestamp("2026-01-01"), "2026-01-01T00:00:00"), (pandas.Timedelta("1 days 00:00:00.5"), "P1DT0.5S"),
        (pandas.Timedelta(-1, "ns"), "-PT0.000000001S"), (Longer(1, 1), "P1DT1S"),
    ],
    "`NaT` and `NA` of numpy and pandas": [
        (pandas.NaT, None), (pandas.NA, None), (numpy.datetime64("NaT"), None), (numpy.timedelta64("NaT"), None), ([pandas.NaT], [None]),
        (numpy.array(["NaT"], dtype="datetime64[ns]"), [None]),
    ],
    "exception": [(ValueError("x"), "ValueError: x"), (raised(), traceback)],
    "a key that is a number, bytes, a date or an `Enum`": [
        ({1: 2}, {"1": 2}), ({1.5: 2}, {"1.5": 2}), ({b"x": 1}, {"eA==": 1}), ({date(2026, 1, 1): 1}, {"2026-01-01": 1}),
        ({Colour.RED: 1}, {"red": 1}),
    ],
    "a key that is None, True or False": [({None: 1}, {"null": 1}), ({True: 1}, {"true": 1}), ({False: 1}, {"false": 1})],
    "a key of any other type": [({(1, 2): 3}, {"[1, 2]": 3})],
    "two keys that become one name, `1` and `\"1\"`": [
        ({1: "a", "1": "b"}, {"1": "b"}), ({"1": "a", 1: "b"}, {"1": "b"}), ({"1.0": "a", 1.0: "b"}, {"1.0": "b"}),
        ({date(2026, 1, 1): "a", "2026-01-01": "b"}, {"2026-01-01": "b"}), ({Colour.RED: 1, "red": 2}, {"red": 2}),
        ([{b"x": 1, "eA==": 2}], [{"eA==": 2}]), ({Name("a"): 1, "b": 2, 5: 3, "5": 4}, {"a": 1, "b": 2, "5": 4}),
        (Point({1: 1, "1": 2}, 0.5), {"x": {"1": 2}, "y": 0.5}),
    ],
    "a structure that holds itself": [(looped(), {"kept": 1, "again": ["<circular>"]})],
    "nesting that no encoder can write (about 1,000 levels)": [
        (nested(20_000), lambda v: re.fullmatch(r"\[{60,64}'<too deep>'\]{60,64}", repr(v)))
    ],
    "any other object; a `DataFrame`, a `Series`, a lazy query": [
        (Plain(), ("plain" * 400)[:1000]), (len, "<built-in function len>"), (Guarded(), "guarded"),
        ((item for item in "ab"), re.compile("<generator").match),
        (pandas.DataFrame({"a": [1]}), "   a\n0  1"), (pandas.Series([1]), "0    1\ndtype: int64"), (numpy.dtype("i4"), "dtype('int32')"),
        (Mock(spec=dict), re.compile("<Mock spec='dict'").match), (Mock(spec=str), re.compile("<Mock spec='str'").match),
        (unbound(), "<LocalProxy unbound>"), (Lazy(), "<Lazy query>"),
    ],
    "an object whose `repr` raises": [
        (LocalProxy(Broken), lambda v: re.fullmatch(r"<[\w.]+\.Broken>", v)), (Detached(),
        lambda v: re.fullmatch(r"<[\w.]+\.Detached>", v)),
        (Broken(), lambda v: re.fullmatch(r"<[\w.]+\.Broken>", v)), ([Broken()], lambda v: re.fullmatch(r"<[\w.]+\.Broken>", v[0])),
    ],
}  # fmt: skip
