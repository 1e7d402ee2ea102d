"""Whatever a call is given, it raises nothing, its event arrives, and the counts add up."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from metlog import MetlogClient
from metlog.compat import MetlogClient as CompatClient
from metlog.compat.logging import MetlogHandler as CompatHandler
from metlog.compat.senders import NoSendSender
from metlog.integrations.logging import MetlogHandler
from metlog.integrations.structlog import MetlogProcessor
from metlog.values import MARK, formatted


class Evil:
    """Everything that is asked of it raises."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __hash__ = __bool__ = __len__ = __iter__ = __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __str__  # type: ignore[assignment]
    __int__ = __float__ = __index__ = __contains__ = __getitem__ = __call__ = __format__ = __str__  # type: ignore[assignment]


class EvilMapping(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield "a"
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


class EvilText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __hash__ = __format__ = __eq__ = __str__  # type: ignore[assignment]


def broken() -> Iterator[str]:
    yield "first"
    raise RuntimeError("no")


def loop() -> list[Any]:
    around: list[Any] = []
    around.append(around)
    return around


MAKERS: dict[str, Callable[[], Any]] = {
    "evil": Evil, "list of evil": lambda: [Evil()], "tuple of evil": lambda: (Evil(), "b"), "dict of evil": lambda: {"a": Evil()},
    "evil key": lambda: {Name(): 1}, "evil mapping": EvilMapping, "evil text": lambda: EvilText("text"), "broken iterator": broken,
    "nan": lambda: math.nan, "inf": lambda: math.inf, "minus": lambda: -1, "huge": lambda: 10**400, "tiny": lambda: 1e-320,
    "zero": lambda: 0,
    "more digits than Python writes": lambda: 10**5000, "loop": loop,
    "bytes": lambda: b"caf\xc3\xa9 \xff", "surrogate": lambda: "\ud800", "none": lambda: None, "true": lambda: True,
    "array": lambda: numpy.array([1, 2]), "class": lambda: Evil, "function": lambda: broken, "empty": lambda: "", "set": lambda: {1},
    "number as text": lambda: "0.5", "long": lambda: "x" * 100_000, "object": object, "mixed keys": lambda: {1: "a", "1": "b"},
}  # fmt: skip


class Name:
    """A key without text."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


CALLS = [
    "log",
    "metlog",
    "debug",
    "info",
    "warn",
    "warning",
    "error",
    "exception",
    "critical",
    "incr",
    "timer_send",
    "timer",
]
USUAL = {"tokens": "t", "type": "t", "name": "n", "ms": 1.5, "msg": "m", "elapsed": 1.5}


def parameters(client_class: type[MetlogClient]) -> list[Any]:
    """Every parameter of every call, `*args` and `**keywords` too."""
    found = []
    for call in CALLS:
        for name, parameter in inspect.signature(getattr(client_class, call)).parameters.items():
            if name != "self":
                found.append(pytest.param(call, name, parameter.kind, id=f"{call}-{name}"))
    return found


def call_with(client: MetlogClient, call: str, name: str, kind: Any, value: Any) -> None:
    signature = inspect.signature(getattr(client, call))
    given: dict[str, Any] = {
        each: USUAL[each]
        for each, parameter in signature.parameters.items()
        if parameter.default is parameter.empty and each in USUAL and each != name
    }
    positional: list[Any] = []
    if "msg" in signature.parameters and signature.parameters["msg"].kind is inspect.Parameter.POSITIONAL_ONLY:
        positional.append(value if name == "msg" else "value %s and %d")
        given.pop("msg", None)
    if kind is inspect.Parameter.VAR_POSITIONAL:
        positional += [value, value]
    elif kind is inspect.Parameter.VAR_KEYWORD:
        given["other"] = value
        if call not in {"timer", "incr", "timer_send", "log", "metlog"}:
            given["exc_info"] = given["fields"] = value
    elif name not in {"msg"} or not positional:
        given[name] = value
    made = getattr(client, call)(*positional, **given)
    if call == "timer":
        with made:
            pass
        made(lambda: None)()


def settled(client: MetlogClient) -> int:
    """Events that arrived, once the counts add up and every receiver can read them."""
    assert client.flush(5)
    stats = client.stats()
    assert stats.accepted == stats.sent + sum(stats.dropped.values()) + stats.buffered
    assert stats.buffered == 0
    frames = getattr(client.sender, "frames", None)
    if frames is not None:
        events = [event for frame in frames for event in client.encoder.decode(frame)]
        assert len(events) == stats.sent
        assert stats.repaired == sum(MARK in event.fields for event in events)
        return len(events)
    return stats.sent


@pytest.mark.parametrize("encoder", ["json", "msgpack", "text"])
@pytest.mark.parametrize(("call", "name", "kind"), parameters(MetlogClient))
def test_the_client(encoder: str, call: str, name: str, kind: Any) -> None:
    if encoder == "text":
        client = MetlogClient.from_config("null:", encoder=encoder)
    else:
        client = MetlogClient.from_config("memory:", encoder=encoder, logger="svc")
    for what, make in MAKERS.items():
        before = client.stats()
        call_with(client, call, name, kind, make())
        client.bind(bound=make()).log("bound")
        settled(client)
        after = client.stats()
        lost = {"zero", "minus", "tiny"} if name == "rate" else set()  # never, says such a rate
        expected = 1 + (0 if what in lost else 2 if call == "timer" else 1)
        if name != "rate" or what != "number as text":
            assert after.sent - before.sent == expected, what
        assert after.dropped == {}, what
    client.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"timers": "summary"},
        {"counters": "each"},
        {"disabled_timers": ["*"]},
        {"filters": [{"name": "redact", "drop": ["secret"]}], "timers": "summary"},
        {"filters": [{"name": "sample", "rate": 1.0}], "buffer": {"flush_interval": 0}},
    ],
    ids=["summaries", "each counter", "no timers", "redacting", "at once"],
)
@pytest.mark.parametrize(("call", "name", "kind"), parameters(MetlogClient))
def test_the_client_with_other_settings(settings: dict[str, Any], call: str, name: str, kind: Any) -> None:
    with MetlogClient.from_config("memory:", **settings) as client:
        for what, make in MAKERS.items():
            call_with(client, call, name, kind, make())
            settled(client)
            assert client.stats().dropped == {}, what


@pytest.mark.parametrize(("call", "name", "kind"), parameters(CompatClient))
def test_the_old_client(call: str, name: str, kind: Any) -> None:
    client = CompatClient(NoSendSender())
    for what, make in MAKERS.items():
        before = client.stats()
        call_with(client, call, name, kind, make())
        settled(client)
        if name != "rate":
            assert client.stats().sent - before.sent == (2 if call == "timer" else 1), what
    client.close()


@pytest.mark.parametrize("handler", [MetlogHandler, CompatHandler])
@pytest.mark.parametrize("what", MAKERS)
def test_stdlib_logging(handler: Any, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    client = MetlogClient.from_config("memory:")
    log = logging.Logger("shop")
    log.addHandler(handler(client=client) if handler is MetlogHandler else handler(client))
    make = MAKERS[what]
    log.info(make())
    log.info("saved %s", make())
    log.info("saved %d", make())
    log.info("saved %s %s", make())  # noqa: PLE1206 - one is missing on purpose
    log.info("saved", extra={"row": make()})
    log.error("saved", exc_info=RuntimeError(make()))
    assert settled(client) == 6
    assert capsys.readouterr().err == ""
    client.close()


@pytest.mark.parametrize("what", MAKERS)
def test_structlog(what: str) -> None:
    client = MetlogClient.from_config("memory:")
    log = structlog.wrap_logger(None, processors=[MetlogProcessor(client, drop=True)])
    make = MAKERS[what]
    log.info(make())
    log.info("saved", row=make(), logger=make(), exc_info=make(), level_number=make())
    log.bind(level=make()).info("saved")
    assert settled(client) == 3
    client.close()


def test_a_call_of_which_no_event_can_be_made_is_accepted_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    from metlog.core.pipeline import Pipeline

    def put(*args: Any) -> None:
        raise MemoryError

    client = MetlogClient.from_config("memory:")
    tee = MetlogClient.from_config({"sender": {"name": "tee", "senders": ["memory:", "memory:"]}})
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "put", put)
        for each in (client, tee):
            each.log("a", fields={"n": [1]})
            each.metlog("a", logger="x")
            each.error("a", [1])
    assert client.stats().dropped == {"call_error": 3}
    assert tee.stats().dropped == {"call_error": 6}
    for each in (client, tee):
        assert each.flush(5)
        stats = each.stats()
        assert stats.accepted == stats.sent + sum(stats.dropped.values())
        each.log("fine")
    sender = client.sender
    for each in (client, tee):
        each.close()
    events = sender.events
    assert [(event.type, event.seq) for event in events] == [("metlog.report", 4), ("fine", 5), ("metlog.end", 6)]
    assert events[-1].fields["dropped"] == {"call_error": 3}


# ---- what is said in the place of an argument ------------------------------------------------------------------------


class Detached:
    def __repr__(self) -> str:
        raise RuntimeError("not bound to a session")


HERE = f"{__name__}.Detached"


@pytest.mark.parametrize(
    ("message", "arguments", "text"),
    [
        ("saved %s", (Detached(),), f"saved <{HERE}>"), ("%r and %5.1f", (Detached(), 2.25), f"<{HERE}> and   2.2"),
        ("%d left", (math.inf,), "inf left"), ("%d left", (math.nan,), "nan left"), ("%x of %s", ("ten", 3), "ten of 3"),
        ("%s %s", ("one",), "one %s"), ("%s", ("one", "two"), "one"), ("100%", ("a",), "100%"), ("%(a)s %(b)d", ({"a": 1},), "1 %(b)d"),
        ("%(a)s %(b)d", ({"a": Detached(), "b": 2},), f"<{HERE}> 2"), ("%*d|%.*f", (4, "x", 1, 2.55), "x|2.5"), ("%c", ("ab",), "ab"),
        ("50%% of %d", ("x",), "50% of x"), ("%y", (1,), "1"), ("no directive", (1,), "no directive"), (b"bytes %s", ("x",), "bytes x"),
        (Detached(), (), f"<{HERE}>"), (Detached(), (1,), f"<{HERE}>"), ("%(a)s", ("no mapping",), "%(a)s"), ("%i", (1,), "1"),
    ],
)  # fmt: skip
def test_what_cannot_be_formatted_is_said_in_its_place(message: Any, arguments: Any, text: str) -> None:
    assert formatted(message, arguments)[0] == text
    with MetlogClient.from_config("memory:") as client:
        client.info(message, *arguments)
        client.flush(5)
        assert client.sender.events[0].payload == text


@given(
    st.text(st.sampled_from("%sdrfxc()a*.0 -+#hlj%"), max_size=20),
    st.lists(st.sampled_from([1, "x", 2.5, math.inf, Detached(), {"a": 1}]), max_size=4),
)
def test_formatting_never_raises_and_is_pythons_own_where_that_works(message: str, arguments: list[Any]) -> None:
    text, wrong = formatted(message, tuple(arguments))
    single = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], dict) else tuple(arguments)
    try:
        expected = message % single if arguments else message
    except Exception:
        assert wrong
    else:
        assert (text, wrong) == (expected, None)
