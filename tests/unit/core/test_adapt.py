"""Parts that inherit nothing: the required members are enough, the hooks they have are called, and they stay what they are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from metlog import Event, MetlogClient
from metlog.core.adapt import _NOT_COPIED, adapt_encoder, adapt_filter, adapt_sender
from metlog.core.chance import Certain, Chance
from metlog.encoders import BaseEncoder
from metlog.encoders.json import JsonEncoder
from metlog.filters import BaseFilter
from metlog.senders import BaseSender


class Least:
    """What README promises: three methods and a number."""

    max_frame = 4096

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def flush(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is open."""


class Most(Least):
    """Every hook."""

    nonblocking = True
    max_event = 300

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def deadline(self, seconds: float) -> None:
        self.calls.append(f"deadline {seconds > 0}")

    def after_fork(self) -> None:
        self.calls.append("after_fork")

    def isatty(self) -> bool:
        self.calls.append("isatty")
        return True

    def stats(self) -> dict[str, int]:
        return {"refused": 3}


def types_in(frames: list[bytes]) -> list[str]:
    return [event.type for frame in frames for event in JsonEncoder().decode(frame)]


def test_three_methods_and_a_number_are_a_sender() -> None:
    sender = Least()
    with MetlogClient.from_config(sender=sender) as client:
        client.log("login")
        assert client.sender is sender
    assert types_in(sender.frames) == ["login", "metlog.end"]


def test_every_hook_that_a_sender_has_is_called() -> None:
    sender = Most()
    client = MetlogClient.from_config(sender=sender, encoder="text")
    assert sorted(sender.calls) == ["isatty", "open"]
    client.log("login", "x" * 1000)
    client.flush()
    assert all(len(frame) <= 300 for frame in sender.frames)
    client.close()
    assert sender.calls[-1] == "deadline True"
    full = adapt_sender(sender)
    assert full.stats() == {"refused": 3}
    assert (full.nonblocking, full.max_event, full.probe()) == (True, 300, None)


SET_BY_THE_PIPELINE = {"logger", "emit", "chance"}


@pytest.mark.parametrize(
    ("base", "adapt"), [(BaseSender, adapt_sender), (BaseEncoder, adapt_encoder), (BaseFilter, adapt_filter)]
)
def test_each_hook_of_an_object_that_inherits_nothing_is_taken(base: type, adapt: Any) -> None:
    hooks = {name for name in vars(base) if not name.startswith("_")} - SET_BY_THE_PIPELINE - {"ticking"}

    def hook(name: str) -> Any:
        default = getattr(base, name)
        if isinstance(default, bool):
            return not default
        return name if callable(default) else 7 if name == "repaired" else [name]

    members = {name: hook(name) for name in hooks}
    full = adapt(type("Inner", (), members)())
    for name in sorted(hooks):
        assert getattr(full, name) == members[name], f"{name} of the object is not taken"


def test_what_a_concurrent_sender_transmits_with_may_change() -> None:
    class Changing(Least):
        nonblocking = concurrent = True
        recovered = 0

        def transmit(self, frame: bytes) -> None:
            self.frames.append(frame)
            self.transmit = self.failing  # type: ignore[method-assign]

        def failing(self, frame: bytes) -> None:
            raise OSError("down")

        def recover(self, frame: bytes, error: OSError, used: Any) -> None:
            self.recovered += 1
            self.transmit = type(self).transmit.__get__(self)  # type: ignore[method-assign]
            self.frames.append(frame)

    sender = Changing()
    with MetlogClient.from_config(sender=sender, buffer={"flush_interval": 0}) as client:
        for name in ("a", "b", "c"):
            client.log(name)
        assert client.stats().dropped == {}
    assert types_in(sender.frames) == ["a", "b", "c", "metlog.end"]
    assert sender.recovered == 2


def test_a_sender_that_inherits_nothing_tells_what_it_lost_later() -> None:
    class Late(Least):
        def on_loss(self, lost: Any) -> None:
            self.lost = lost

        def flush(self) -> None:
            if self.lost is not None:
                self.lost("timeout", 2)
            self.lost = None

    client = MetlogClient.from_config(sender=Late())
    for _ in range(3):
        client.log("login")
    assert client.flush(20)
    assert (client.stats().sent, client.stats().dropped) == (1, {"timeout": 2})


@pytest.mark.untraced
def test_a_forked_child_tells_it() -> None:
    sender = Most()
    client = MetlogClient.from_config(sender=sender)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if sender.calls[-1] == "after_fork" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    client.close()


def test_one_that_inherits_is_taken_as_it_is() -> None:
    for made, adapt in ((BaseSender(), adapt_sender), (BaseEncoder(), adapt_encoder), (BaseFilter(), adapt_filter)):
        assert adapt(made) is made  # type: ignore[operator]


class Words:
    content_type = "text/plain"

    def encode(self, event: Event) -> bytes:
        return event.type.encode()

    def frame(self, encoded: list[bytes]) -> bytes:
        return b" ".join(encoded)

    def decode(self, frame: bytes) -> list[Event]:
        return [Event(type=word.decode()) for word in frame.split()]


def test_an_encoder_of_three_methods_is_one() -> None:
    sender = Least()
    client = MetlogClient.from_config(sender=sender, encoder=Words())
    client.log("login")
    client.log("logout")
    assert isinstance(client.encoder, Words)
    client.close()
    assert b" ".join(sender.frames) == b"login logout metlog.end"
    assert client.stats().repaired == 0


def test_silence_is_not_inherited() -> None:
    class Chatty(JsonEncoder):
        """May log."""

    class Quiet(JsonEncoder):
        silent = True

    assert (JsonEncoder().silent, Chatty().silent, Quiet().silent) == (True, False, True)

    class Said(Words):
        silent = True

    class Heard(Said):
        """May log."""

    assert (adapt_encoder(Said()).silent, adapt_encoder(Heard()).silent) == (True, False)


KINDS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "sender": (BaseSender, adapt_sender),
    "encoder": (BaseEncoder, adapt_encoder),
    "filter": (BaseFilter, adapt_filter),
}
HOOKS = [(kind, name) for kind, (base, _) in KINDS.items() for name in vars(base) if not name.startswith("_")]
"""Every member of a base class that is a hook; docs/extending.md has each (tests/docs/test_hooks.py)."""
SET_BY_THE_PIPELINE = {"logger", "emit", "chance"}


@pytest.mark.parametrize(("kind", "hook"), [(kind, hook) for kind, hook in HOOKS if hook not in SET_BY_THE_PIPELINE])
def test_each_hook_of_the_base_class_is_taken_of_an_object_that_inherits_nothing(kind: str, hook: str) -> None:
    _, adapt = KINDS[kind]
    call = {"__call__": lambda self, event: event}
    value = {"repaired": 7, "early_needs_fields": False}.get(hook, True)  # handed on as it is, and no default
    assert getattr(adapt(type("Own", (), {**call, hook: value})()), hook) is value
    assert getattr(adapt(type("None", (), call)()), hook) is not value


def test_the_hooks_that_are_not_copied_are_hooks() -> None:
    assert {hook for _, hook in HOOKS} >= _NOT_COPIED >= SET_BY_THE_PIPELINE


@pytest.mark.parametrize("within", [False, True], ids=["alone", "within fallback"])
def test_losses_that_a_sender_learns_later_are_counted(within: bool) -> None:
    class Late(Least):
        def on_loss(self, lost: Callable[[str, int], None]) -> None:
            self.lost = lost

        def close(self) -> None:
            self.lost("timeout", 2)

    sender: Any = {"name": "fallback", "senders": [Late(), "null"]} if within else Late()
    with MetlogClient.from_config(sender=sender) as client:
        for _ in range(5):
            client.log("login")
    assert client.stats().dropped == {"timeout": 2}
    assert client.stats().sent == 3


def test_what_a_concurrent_sender_has_in_transmit_is_read_for_each_frame() -> None:
    class Changing(Least):
        nonblocking = concurrent = True

        def __init__(self) -> None:
            super().__init__()
            self.transmit = self.first
            self.again: list[bytes] = []

        def first(self, frame: bytes) -> None:
            self.frames.append(frame)
            self.transmit = self.second

        def second(self, frame: bytes) -> None:
            raise OSError("gone")

        def recover(self, frame: bytes, error: OSError, used: Callable[[bytes], object]) -> None:
            assert used == self.second
            self.again.append(frame)

    sender = Changing()
    with MetlogClient.from_config(sender=sender, buffer={"flush_interval": 0}) as client:
        client.log("one")
        client.log("two")
        client.log("three")
    assert types_in(sender.frames) == ["one"]
    assert types_in(sender.again) == ["two", "three", "metlog.end"]


def test_a_sender_that_inherits_nothing_may_fan_out() -> None:
    class Both(Least):
        nonblocking = fans_out = True
        branch_settings = ({"sender": "memory:"}, {"sender": "memory:"})

    with MetlogClient.from_config(sender=Both()) as client:
        client.log("login")
        client.flush(5)
        assert [branch.stats().sent for branch in client.branches] == [1, 1]


def keeping(parent: type, **members: Any) -> type:
    """A class of filters that keep every event."""
    return type("Keeping", (parent,), {"__call__": lambda self, event: event, **members})


@pytest.mark.parametrize("parent", [object, BaseFilter], ids=["alone", "inheriting"])
def test_what_stands_for_the_call_is_lost_where_a_subclass_writes_its_own(parent: type) -> None:
    first: Any = keeping(parent, early=lambda self, *call: 1.0, early_needs_fields=False)

    class Drops(first):  # type: ignore[misc]
        def __call__(self, event: Event, /) -> Event | None:
            return None

    class Further(Drops):
        """Drops as well."""

    class Again(Further):
        def early(self, *call: Any) -> float:
            return 0.0

    full = adapt_filter(first())
    assert (full.early is not None, full.early_needs_fields) == (True, False)
    assert adapt_filter(Drops()).early is adapt_filter(Further()).early is None
    full = adapt_filter(Again())
    assert (full.early is not None, full.early_needs_fields) == (True, True)
    for kind in (Drops, Further, Again):
        with MetlogClient.from_config("memory:", filters=[kind()]) as client:
            client.log("login")
            assert (client.stats().accepted, client.stats().filtered) == (0, 1)


@pytest.mark.parametrize("parent", [object, BaseFilter], ids=["alone", "inheriting"])
def test_a_subclass_with_a_call_of_its_own_is_called_though_the_class_above_goes_by_severity_only(parent: type) -> None:
    first: Any = keeping(parent, by_severity_only=True, severity_max=6)

    class Drops(first):  # type: ignore[misc]
        def __call__(self, event: Event, /) -> Event | None:
            return None

    for kind, accepted in ((first, 1), (Drops, 0)):
        with MetlogClient.from_config("memory:", filters=[kind()]) as client:
            client.log("login")
            assert client.stats().accepted == accepted


def test_a_filter_that_inherits_nothing_is_told_the_logger_where_it_has_such_a_member() -> None:
    class Named:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def __call__(self, event: Event, /) -> Event | None:
            return event

    class OfClass(Named):
        logger: Any = ""

        def __init__(self) -> None:
            """As in the class."""

    stdlib = logging.getLogger("app")
    made = [OfClass(), Named(""), Named("an option"), Named(stdlib)]
    client = MetlogClient()
    client.configure("memory:", logger="first", filters=made)
    client.configure("memory:", logger="shop", filters=[made[0], *made[2:]])
    client.close()
    assert [item.logger for item in made] == ["shop", "first", "an option", stdlib]


def test_a_filter_says_whether_it_keeps_time() -> None:
    timed = keeping(object, tick=lambda self, now: None)
    assert adapt_filter(timed()).ticking
    assert not adapt_filter(keeping(timed, ticking=False)()).ticking
    assert not adapt_filter(keeping(object)()).ticking


def test_a_function_is_a_filter_and_shown_as_it_is() -> None:
    def no_debug(event: Event) -> Event | None:
        return None if event.type == "debug" else event

    sender = Least()
    client = MetlogClient.from_config(sender=sender, filters=[no_debug])
    client.log("debug")
    client.log("login")
    assert client.filters == (no_debug,)
    client.close()
    assert types_in(sender.frames) == ["login", "metlog.end"]


class Doubles:
    """Adds an event for each, keeps time, samples."""

    emit: Any = None

    def __init__(self) -> None:
        self.ticks = 0
        self.chance = Certain()
        self.closed = False

    def __call__(self, event: Event, /) -> Event | None:
        if event.type != "copy":
            self.emit(Event(type="copy"))
        return event

    def tick(self, now: float) -> None:
        self.ticks += 1

    def close(self) -> None:
        self.closed = True
        self.emit(Event(type="last"))


def test_the_hooks_of_a_filter_that_inherits_nothing() -> None:
    sender, doubles = Least(), Doubles()
    client = MetlogClient.from_config(sender=sender, filters=[doubles], buffer={"flush_interval": 0.01})
    client.log("login")
    client.flush()
    assert type(doubles.chance) is Chance
    client.close()
    assert doubles.closed
    assert types_in(sender.frames) == ["copy", "login", "last", "metlog.end"]


def test_an_attribute_that_only_sounds_like_a_hook_is_left_alone() -> None:
    class Share:
        chance = 0.25

        def __call__(self, event: Event, /) -> Event | None:
            return event

    share = Share()
    MetlogClient.from_config("memory:", filters=[share]).close()
    assert share.chance == 0.25


def test_an_event_that_is_built_at_the_call_has_each_value_in_its_own_field() -> None:
    seen: list[Event] = []

    def keep(event: Event) -> Event:
        seen.append(event)
        return event

    with MetlogClient.from_config("memory:", logger="sync", hostname="h1", filters=[keep]) as client:
        client.metlog("login", payload="p", severity=3, fields={"user": "u1"}, tokens=("login", "sync"), weight=2.0)
        stream = client._state.pipeline.stream  # type: ignore[union-attr]
    (event,) = seen
    assert (event.type, event.tokens, event.logger, event.severity) == ("login", ("login", "sync"), "sync", 3)
    assert (event.payload, event.fields, event.weight, event.env_version) == ("p", {"user": "u1"}, 2.0, "1")
    assert (event.pid, event.hostname, event.stream, event.seq) == (os.getpid(), "h1", stream.id, 1)
