"""Names are looked up in a thread; who asks for that never waits."""

from __future__ import annotations

import socket
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from metlog.senders import _resolver
from metlog.senders._resolver import Resolver
from tests.helpers.waiting import wait_for


@pytest.mark.untraced
@pytest.mark.parametrize("handler", ["kick", "close"])
def test_a_signal_handler_may_ask_or_close_in_the_middle_of_asking(handler: str) -> None:
    """Between any two lines of it."""
    resolver = Resolver(["localhost"], 1, socket.SOCK_DGRAM, lambda addresses: None)
    calls: list[str] = []

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            sys.settrace(None)
            frame.f_trace = None
            calls.append(frame.f_code.co_name)
            resolver._asked = 0.0
            getattr(resolver, handler)()
            sys.settrace(trace)
        return trace

    def work() -> None:
        sys.settrace(trace)
        resolver.kick()
        sys.settrace(None)

    resolver._asked = 0.0
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), f"it waits for itself in {calls[-1]}"
    assert "kick" in calls


def test_an_error_makes_it_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resolver, "KICK_PAUSE", 0.0)
    asked: list[float] = []

    class Counting(Resolver):
        def _lookup(self) -> list[Any]:
            asked.append(1)
            return [(socket.AF_INET, ("127.0.0.1", 1))]

    resolver = Counting(["localhost"], 1, socket.SOCK_DGRAM, lambda addresses: None, interval=600)
    resolver.start()
    assert resolver.answered.wait(20)
    resolver.kick()
    wait_for(lambda: len(asked) == 2)
    resolver.close()
