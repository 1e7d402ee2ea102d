"""One thread at a time sends; a handler of logging may count while that thread has something to log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from metlog.errors import SenderError
from metlog.senders import BaseSender
from metlog.statsd import line
from metlog.statsd.line import Line
from tests.helpers.waiting import wait_for

DEADLINE = 20.0


class Scripted(BaseSender):
    """Does what it is told to with each frame, and keeps it."""

    def __init__(self, *, nonblocking: bool = True) -> None:
        self.nonblocking = nonblocking
        self.frames: list[bytes] = []
        self.within: Callable[[bytes], object] = lambda frame: None

    def send(self, frame: bytes) -> None:
        self.within(frame)
        self.frames.append(frame)


@pytest.fixture
def handler() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Puts a handler in place that calls what it is given, as every handler with its own lock held."""
    made: list[logging.Handler] = []

    def put(call: Callable[[], object]) -> None:
        class Calling(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.name == "app":
                    call()

        made.append(Calling())
        logging.getLogger().addHandler(made[0])

    yield put
    for each in made:
        logging.getLogger().removeHandler(each)


def run(*calls: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def ended(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(DEADLINE)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("loss", [SenderError("too much", reason="too_large"), None])
def test_a_handler_may_count_while_another_thread_loses_a_metric(
    handler: Callable[[Callable[[], object]], None], loss: SenderError | None
) -> None:
    """The thread that sends has to log, by itself (`loss`) or within the sender, and waits for the handler to do so."""
    sender, sending, counting = Scripted(), threading.Event(), threading.Event()
    client = Line(sender)

    def within(frame: bytes) -> None:
        if frame == b"sent:1|c":
            sending.set()
            assert counting.wait(DEADLINE)
            if loss is not None:
                raise loss
            logging.getLogger("metlog").warning("as a sender does that learns of a refusal")

    def count() -> None:
        assert sending.wait(DEADLINE)
        counting.set()
        client.put("counted:1|c", b"")

    sender.within = within
    handler(count)
    threads = run(lambda: client.put("sent:1|c", b""), lambda: logging.getLogger("app").warning("hello"))
    assert ended(threads), "the two wait for each other"
    assert sender.frames == ([b"counted:1|c"] if loss else [b"sent:1|c", b"counted:1|c"])
    stats = client.stats()
    assert (stats.sent, stats.dropped) == ((1, {"too_large": 1}) if loss else (2, {}))
    client.close(0.0)


def test_what_comes_in_the_middle_of_a_send_is_sent_after_it() -> None:
    """A signal handler that counts, for instance."""
    sender = Scripted()
    client = Line(sender)
    sender.within = lambda frame: client.put("within:1|c\nand:1|c", b"") if frame == b"own:1|c" else None
    client.put("own:1|c", b"")
    assert sender.frames == [b"own:1|c", b"within:1|c\nand:1|c"]
    assert (client.stats().sent, client.stats().buffered) == (3, 0)
    client.close(0.0)


def test_what_waits_for_a_thread_that_sends_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "_MOST_LEFT", 2)
    sender, sending, go_on = Scripted(), threading.Event(), threading.Event()
    client = Line(sender)

    def within(frame: bytes) -> None:
        sending.set()
        assert go_on.wait(DEADLINE)

    sender.within = within
    threads = run(lambda: client.put("slow:1|c", b""))
    assert sending.wait(DEADLINE)
    for name in ("a", "b", "c"):
        client.put(f"{name}:1|c", b"")
    assert (client.stats().buffered, client.stats().dropped) == (2, {"buffer_full": 1})
    assert not client.flush(0.0)
    go_on.set()
    assert ended(threads)
    assert sender.frames == [b"slow:1|c", b"a:1|c", b"b:1|c"]
    assert (client.stats().sent, client.stats().buffered) == (3, 0)
    client.close(0.0)


def test_what_a_thread_leaves_that_never_comes_back_is_counted_at_close() -> None:
    """As a daemon thread that the interpreter's end stopped while it was sending."""
    sender, sending, go_on = Scripted(), threading.Event(), threading.Event()
    client = Line(sender)

    def within(frame: bytes) -> None:
        sending.set()
        go_on.wait(DEADLINE)

    sender.within = within
    threads = run(lambda: client.put("stuck:1|c", b""))
    assert sending.wait(DEADLINE)
    client.put("a:1|c\nb:1|c", b"")
    client.close(0.0)
    assert client.stats().dropped == {"exit": 2}
    go_on.set()
    assert ended(threads)


def test_a_queue_that_is_full_is_told_when_others_may_send() -> None:
    sender, taken, go_on = Scripted(nonblocking=False), threading.Event(), threading.Event()
    client = Line(sender, max_bytes=8)

    def within(frame: bytes) -> None:
        taken.set()
        assert go_on.wait(DEADLINE)

    sender.within = within
    client.put("a:1|c", b"")
    assert taken.wait(DEADLINE)
    client.put("b:1|c", b"")
    told: list[int] = []

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(client._owner)

    counting = Counting()
    logging.getLogger("metlog").addHandler(counting)
    client.put("c:1|c", b"")
    logging.getLogger("metlog").removeHandler(counting)
    assert told == [0]
    assert client.stats().dropped == {"queue_full": 1}
    go_on.set()
    wait_for(lambda: sender.frames == [b"a:1|c", b"c:1|c"])
    client.close(0.0)
