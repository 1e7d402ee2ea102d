"""What a client and those bound to it share."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from metlog import MetlogClient
from metlog.core.lifecycle import flush_all
from metlog.core.pipeline import Pipeline
from metlog.core.state import ClientState
from metlog.encoders.json import JsonEncoder
from metlog.senders import BaseSender
from metlog.senders.memory import MemorySender


def greet(client: MetlogClient) -> str:
    return "hello"


def part(client: MetlogClient) -> str:
    return "goodbye"


class Interrupted(MetlogClient):
    """Does something else, once, when it gets the method `greet`: as if another thread came in there."""

    meanwhile: list[Callable[[], Any]] = []  # noqa: RUF012 - emptied by each test

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "greet" and self.meanwhile:
            self.meanwhile.pop()()


def test_a_method_that_is_added_while_a_client_is_bound_is_on_both() -> None:
    first = Interrupted()
    first.add_method(greet)
    first.meanwhile.append(lambda: first.add_method(part))
    bound = first.bind(user="u1")
    assert (bound.greet(), bound.part(), first.part()) == ("hello", "goodbye", "goodbye")


@pytest.mark.parametrize("at", ["add_method", "configure"])
def test_a_client_that_is_bound_while_a_method_is_added_has_it(at: str) -> None:
    first = Interrupted()
    bound: list[MetlogClient] = []
    first.meanwhile.append(lambda: bound.append(first.bind()))
    if at == "add_method":
        first.add_method(greet)
    else:
        first.configure("memory:", plugins=[greet])
    assert (first.greet(), bound[0].greet()) == ("hello", "hello")
    first.close()


@pytest.mark.untraced
def test_methods_are_added_and_all_is_flushed_while_threads_bind_and_make_clients() -> None:
    first = MetlogClient.from_config("memory:")
    kept = [first.bind(number=number) for number in range(500)]
    stop, errors = threading.Event(), []

    def work() -> None:
        try:
            while not stop.is_set():
                first.bind(x=1)
                MetlogClient()
                Pipeline(logger="", hostname="", filters=[], encoder=JsonEncoder(), sender=MemorySender()).close(0.0)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(20):
            first.add_method(greet, override=True)
            assert flush_all(20)
            assert first._state in set(ClientState._all)
    finally:
        sys.setswitchinterval(before)
        stop.set()
        for thread in threads:
            thread.join()
        first.close()
    assert errors == []
    assert {client.greet() for client in kept} == {"hello"}


class Unwilling(JsonEncoder):
    """Raises once it is asked to serve."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def sent_by(self, sender: BaseSender) -> None:
        raise self.error


class Statsd:
    closed = False

    def close(self) -> None:
        self.closed = True


class Stop(BaseException):
    """What a signal handler raises, as Ctrl-C does."""


def whole(senders: list[MemorySender], encoder: JsonEncoder) -> dict[str, Any]:
    return {"sender": senders[0], "encoder": encoder}


def branches(senders: list[MemorySender], encoder: JsonEncoder) -> dict[str, Any]:
    return {"sender": {"name": "tee", "senders": [senders[0], {"sender": senders[1], "encoder": encoder}]}}


@pytest.mark.parametrize("settings", [whole, branches])
@pytest.mark.parametrize("error", [RuntimeError("no"), Stop()])
def test_what_was_opened_for_a_configuration_that_fails_is_closed_whatever_was_raised(
    settings: Callable[..., dict[str, Any]], error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    statsd = Statsd()
    monkeypatch.setattr("metlog.statsd.client.make", lambda settings: statsd)
    client = MetlogClient.from_config("memory:")
    before, senders = client.sender, [MemorySender(), MemorySender()]
    with pytest.raises(type(error)):
        client.configure(settings(senders, Unwilling(error)), statsd={"host": "127.0.0.1"})
    used = senders[: 1 + (settings is branches)]
    assert [sender.closed for sender in used] == [True] * len(used)
    assert statsd.closed
    assert client.sender is before
    client.log("event")
    assert client.flush(20)
    assert [event.type for event in before.events] == ["event"]
    client.close()


def test_a_sender_is_closed_where_no_statsd_client_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(settings: object) -> Any:
        raise OSError("no socket")

    monkeypatch.setattr("metlog.statsd.client.make", make)
    sender = MemorySender()
    with pytest.raises(OSError, match="no socket"):
        MetlogClient.from_config({"sender": sender, "statsd": {"host": "127.0.0.1"}})
    assert sender.closed
