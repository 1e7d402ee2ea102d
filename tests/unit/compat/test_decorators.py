"""The original's decorators: their names, arguments and late binding."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

import pytest

from metlog import MetlogError
from metlog.compat import CLIENT_HOLDER, MetlogClient, MetlogDecorator, get_client, incr_count, timeit
from metlog.compat.senders import DebugCaptureSender
from tests.helpers.compat import messages

HERE = __name__
CAPTURE = {"sender": {"class": "metlog.senders.DebugCaptureSender"}}


@timeit
def timed_add(x: int, y: int) -> int:
    return x + y


def named(client: Any) -> list[tuple[str, str]]:
    return [(m["type"], m["fields"]["name"]) for m in messages(client)]


def test_a_function_decorated_at_import_is_timed_once_there_is_a_client() -> None:
    plain = timeit(lambda: 1)
    assert plain() == 1
    get_client("svc")  # known, and not yet configured
    assert plain() == 1
    client = get_client("svc", CAPTURE)
    assert (timed_add(3, y=4), plain()) == (7, 1)
    assert named(client) == [("timer", f"{HERE}.timed_add"), ("timer", f"{HERE}.<lambda>")]
    timed_add.__dict__.update(_client=None, _bound_call=None)


def test_decorators_upon_each_other_have_the_functions_name_and_run_from_the_inside() -> None:
    client = get_client("svc", CAPTURE)

    @incr_count
    @timeit
    def one() -> str:
        """Its own words."""
        return "1"

    @timeit
    @incr_count
    def two() -> str:
        return "2"

    assert (one(), two()) == ("1", "2")
    assert (one.__name__, one.__doc__) == ("one", "Its own words.")
    assert named(client) == [
        ("timer", f"{HERE}.one"),
        ("counter", f"{HERE}.one"),
        ("counter", f"{HERE}.two"),
        ("timer", f"{HERE}.two"),
    ]


def test_methods_are_bound_and_named_without_their_class_as_in_the_original() -> None:
    client = get_client("svc", CAPTURE)

    class Thing:
        def __init__(self, value: int) -> None:
            self.value = value

        @incr_count
        @timeit
        def get(self, more: int = 0) -> int:
            return self.value + more

    assert (Thing(7).get(), Thing(8).get(more=1)) == (7, 9)
    assert named(client) == [("timer", f"{HERE}.get"), ("counter", f"{HERE}.get")] * 2


def test_arguments_are_those_of_the_clients_calls() -> None:
    client = get_client("svc", CAPTURE)

    @incr_count(name="qdo.foo", count=5, logger="somelogger", severity=2)
    def counted() -> None: ...

    @timeit(name="qdo.timeit", logger="l", severity=5, fields={"anumber": 42}, rate=7)
    def timed() -> None: ...

    @timeit("by.place", "l", 3)
    def by_place() -> None: ...

    @incr_count(count=2)
    def without_a_name() -> None: ...

    for function in (counted, timed, by_place, without_a_name):
        function()
    first, second, third, fourth = messages(client)
    assert (first["logger"], first["severity"], first["payload"]) == ("somelogger", 2, "5")
    assert first["fields"] == {"name": "qdo.foo", "rate": 1.0, "count": 5}
    assert (second["logger"], second["severity"]) == ("l", 5)
    assert (second["fields"]["anumber"], second["fields"]["rate"], second["fields"]["name"]) == (42, 7, "qdo.timeit")
    assert (third["fields"]["name"], third["logger"], third["severity"]) == ("by.place", "l", 3)
    assert (fourth["fields"]["name"], fourth["payload"]) == (f"{HERE}.without_a_name", "2")

    @timeit(bad=7)
    def wrong() -> None: ...

    with pytest.raises(TypeError):
        wrong()


def test_what_a_function_raises_is_counted_timed_and_raised() -> None:
    client = get_client("svc", CAPTURE)

    @incr_count
    @timeit
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        fails()
    assert [kind for kind, _ in named(client)] == ["timer", "counter"]


def test_coroutine_functions_are_timed_to_their_end() -> None:
    client = get_client("svc", CAPTURE)

    @incr_count
    @timeit
    async def work() -> str:
        await asyncio.sleep(0.02)
        return "done"

    assert asyncio.run(work()) == "done"
    (timer,) = [m for m in messages(client) if m["type"] == "timer"]
    assert int(timer["payload"]) >= 20
    assert len(messages(client)) == 2
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(work)


@pytest.mark.parametrize("disabled", [["timeit"], {"timeit"}, "timeit"])
def test_a_decorator_is_disabled_by_the_name_of_its_class(disabled: Any) -> None:
    client = get_client("svc", {**CAPTURE, "global_disabled_decorators": disabled})

    @incr_count
    @timeit
    def work() -> int:
        return 1

    assert (work(), work()) == (1, 1)
    assert [kind for kind, _ in named(client)] == ["counter"] * 2
    assert timeit(work).decorator_name == "timeit"


@pytest.mark.parametrize("name", [f"{HERE}.one", "one", "*"])
def test_timeit_is_disabled_by_a_timers_name(name: str) -> None:
    client = get_client("svc", {**CAPTURE, "disabled_timers": [name]})

    @timeit
    def one() -> None: ...

    @timeit
    def two() -> None: ...

    one()
    two()
    assert named(client) == ([] if name == "*" else [("timer", f"{HERE}.two")])


def test_a_client_is_chosen_by_object_by_name_or_is_the_default() -> None:
    default = get_client("default", CAPTURE)
    other = get_client("other", CAPTURE)
    mine = MetlogClient(DebugCaptureSender(), "mine")

    def work() -> None: ...

    incr_count("n")(work)()
    incr_count("n", client_name="other")(work)()
    incr_count("n", client=mine)(work)()
    CLIENT_HOLDER.set_default_client_name("other")
    incr_count("n")(work)()
    assert [len(messages(client)) for client in (default, other, mine)] == [1, 2, 1]
    mine.close()
    CLIENT_HOLDER.delete_client("other")
    with pytest.raises(MetlogError, match="incr_count: no client"):
        incr_count("n").client  # noqa: B018


def test_decorators_of_the_applications_own() -> None:
    client = get_client("svc", CAPTURE)

    class shout(MetlogDecorator):
        def metlog_call(self, *args: Any, **kwargs: Any) -> Any:
            assert self._fn is not None
            self.client.metlog("shout", payload=self._fn.__name__.upper())
            return self._fn(*args, **kwargs)

    @shout
    def hey(value: int) -> int:
        return value

    assert hey(3) == 3
    assert messages(client)[0]["payload"] == "HEY"
    with pytest.raises(TypeError, match="decorates a function"):
        shout("a", "b")(1, 2)
