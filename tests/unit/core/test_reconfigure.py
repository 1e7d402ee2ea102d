"""`configure` on a live client: every event arrives once, by the old way or the new one."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from time import monotonic, sleep
from typing import Any

import pytest

from metlog import ConfigError, Event, MetlogClient
from metlog.core.pipeline import Pipeline
from metlog.core.stats import AtomicCounter
from metlog.encoders import wire as frames
from metlog.encoders.json import JsonEncoder
from metlog.encoders.wire import decode as events_of
from metlog.senders.memory import MemorySender
from metlog.testing.peers import StreamPeer

ROUNDS = 15
MOST = 1_000  # events that a thread logs a round

Log = Callable[[MetlogClient, str], None]

pytestmark = pytest.mark.untraced

WAYS: dict[str, Log] = {
    "log": lambda client, word: client.log(("n", "t"), word),
    "nested fields": lambda client, word: client.log("n", word, fields={"deep": [1]}),
    "metlog": lambda client, word: client.metlog("n", "other", 3, word, {}),
    "weight": lambda client, word: client.metlog("n", payload=word, weight=2.0),
    "info": lambda client, word: client.info(word),
    "bind": lambda client, word: client.bind(a=1).log("n", word),
    "incr": lambda client, word: client.incr("c", word),  # type: ignore[arg-type]
    "sampled": lambda client, word: client.incr("c", word, rate=1 - 1e-12),  # type: ignore[arg-type]
    "timer": lambda client, word: client.timer_send("t", word),  # type: ignore[arg-type]
}


@pytest.fixture(autouse=True)
def _hasty() -> Iterator[None]:
    """Threads change places between any two instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def payloads(events: list[Event]) -> list[str]:
    return [event.payload for event in events if not event.type.startswith("metlog.")]


def under_load(
    client: MetlogClient, change: Callable[[int], None], *, rounds: int = ROUNDS, each: int = MOST, changers: int = 1
) -> list[str]:
    """Changes the configuration, `rounds` times, while a thread for each way logs; what they logged.

    No thread logs more than `each` events a round, so that the last rounds are under load as the first are.
    """
    stop = threading.Event()
    logged: dict[str, int] = dict.fromkeys(WAYS, 0)
    turns = iter(range(rounds))
    done = AtomicCounter()

    def work(name: str, log: Log) -> None:
        while not stop.is_set():
            if logged[name] >= (done.value + 1) * each:
                sleep(0.0002)
                continue
            log(client, f"{name} {logged[name]}")
            logged[name] += 1

    def configure() -> None:
        for number in turns:
            change(number)
            next(done)

    threads = [threading.Thread(target=work, args=item) for item in WAYS.items()]
    others = [threading.Thread(target=configure) for _ in range(changers - 1)]
    for thread in (*threads, *others):
        thread.start()
    try:
        configure()
    finally:
        for thread in others:
            thread.join()
        stop.set()
        for thread in threads:
            thread.join()
    assert done.value == rounds
    assert all(logged.values()), logged
    return [f"{name} {number}" for name, count in logged.items() for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rounds", "each", "changers"),
    [
        ("plain", 300, 20, 1),
        ("at once", 300, 20, 1),
        ("all in turn", 200, 20, 3),
        *((kind, ROUNDS, MOST, 1) for kind in ("plain", "at once", "filters", "tee", "all in turn")),
    ],
)
def test_every_event_arrives_once(kind: str, rounds: int, each: int, changers: int) -> None:
    senders: list[MemorySender] = []
    twins: dict[int, MemorySender] = {}

    dropped: Counter[str] = Counter()

    def settings(kind: str) -> dict[str, Any]:
        senders.append(MemorySender(limit=10**9))
        sender: Any = senders[-1]
        found: dict[str, Any] = {
            "sender": sender,
            "encoder": "msgpack" if len(senders) % 3 == 0 else "json",
            "on_drop": lambda reason, count: dropped.update({reason: count}),
        }
        if kind == "filters":
            found["filters"] = [{"name": "type_deny", "types": ["x"]}, {"name": "redact", "drop": ["x"]}]
        elif kind == "tee":
            found["sender"] = {
                "name": "tee",
                "senders": [sender, twins.setdefault(id(sender), MemorySender(limit=10**9))],
            }
        elif kind == "at once":
            found["buffer"] = {"flush_interval": 0}
        return found

    kinds = ["plain", "at once", "filters", "tee"]
    client = MetlogClient.from_config(settings("plain"))
    logged = under_load(
        client,
        lambda number: client.configure(settings(kinds[number % 4] if kind == "all in turn" else kind)) and None,
        rounds=rounds,
        each=each,
        changers=changers,
    )
    client.close(10)
    found = Counter(payloads([event for sender in senders for frame in sender.frames for event in events_of(frame)]))
    lost = [word for word in logged if not found[word]]
    assert lost == []
    assert found.total() == len(logged)
    streams: dict[str, list[int]] = {}
    for sender in senders:
        for frame in sender.frames:
            for event in events_of(frame):
                streams.setdefault(event.stream, []).append(event.seq)
    assert all(len(set(seqs)) == len(seqs) for seqs in streams.values())
    # A branch of a tee takes what its forerunner did not send any more. Where it has no forerunner's like, that is dropped.
    first = Counter(payloads([event for sender in senders if id(sender) in twins for event in sender.events]))
    second = Counter(payloads([event for twin in twins.values() for event in twin.events]))
    assert second.total() == len(second)
    assert (first - second).total() <= dropped["closed"]
    assert not second - first if kind == "tee" else True
    assert dropped.total() == 0 or kind == "all in turn", dropped


class Held(JsonEncoder):
    """An encoder in whose hands one event stays a while: it has its `seq` by then."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go_on = threading.Event(), threading.Event()

    def encode(self, event: Event) -> bytes:
        if event.type == "held":
            self.inside.set()
            assert self.go_on.wait(10)
        return super().encode(event)


@pytest.mark.parametrize("way", ["plain", "at once", "tee"])
@pytest.mark.parametrize("seconds", [0.02, 0.4], ids=["soon", "too late"])
def test_a_call_in_the_middle_ends_where_it_began_or_in_the_new_stream_whole(way: str, seconds: float) -> None:
    """A call that takes longer than `configure` waits for it is handed to the new stream, and once to each branch."""
    old, new, encoder = [MemorySender(), MemorySender()], [MemorySender(), MemorySender()], Held()

    def settings(senders: list[MemorySender], encoder: Any) -> dict[str, Any]:
        if way != "tee":
            buffer = {"flush_interval": 0} if way == "at once" else {}
            return {"sender": senders[0], "encoder": encoder, "buffer": buffer}
        return {"sender": {"name": "tee", "senders": [{"sender": sender, "encoder": encoder} for sender in senders]}}

    client = MetlogClient.from_config(settings(old, encoder))
    client.log("before")
    thread = threading.Thread(target=client.log, args=("held",))
    thread.start()
    assert encoder.inside.wait(10)
    threading.Timer(seconds, encoder.go_on.set).start()
    client.configure(settings(new, "json"))
    client.log("after")
    thread.join()
    client.close(10)
    for before, after in list(zip(old, new, strict=True))[: 1 + (way == "tee")]:
        events = [*before.events, *after.events]
        assert sorted(event.type for event in events if not event.type.startswith("metlog.")) == [
            "after",
            "before",
            "held",
        ]
        if seconds < 0.1:
            assert [(event.type, event.seq) for event in before.events] == [
                ("before", 1),
                ("held", 2),
                ("metlog.end", 3),
            ]
            assert [(event.type, event.seq) for event in after.events] == [("after", 1), ("metlog.end", 2)]


@pytest.mark.slow
def test_behind_a_queue_as_well(tmp_path: Path) -> None:
    with StreamPeer() as peer:
        specs = [f"tcp://127.0.0.1:{peer.port}", f"file:{tmp_path}/events"]
        buffer = {"max_bytes": 1 << 30}
        client = MetlogClient.from_config({"sender": specs[0], "buffer": buffer, "exit_timeout": 30})
        logged = under_load(
            client,
            lambda number: client.configure(sender=specs[number % 2], buffer=buffer, exit_timeout=30) and None,
        )
        client.close(30)
        end = monotonic() + 30

        def arrived() -> list[bytes]:
            return [*(bytes(stream) for stream in peer.streams), (tmp_path / "events").read_bytes()]

        # What a sender has handed to the kernel, the peer may not have read yet.
        while sum(data.count(b"\n") - data.count(b'"type":"metlog.') for data in arrived()) < len(logged):
            assert monotonic() < end, "not all has arrived"
            sleep(0.01)
        sleep(0.05)  # in which one that comes twice would come
        parts = arrived()
    assert all(data.endswith(b"\n") for data in parts if data)
    found = Counter(payloads(frames.decode_json(b"".join(parts))))
    assert [word for word in logged if found[word] != 1] == []
    assert found.total() == len(logged)


def test_one_that_fails_changes_nothing_under_load() -> None:
    sender = MemorySender(limit=10**9)
    client = MetlogClient.from_config({"sender": sender})

    def fail(number: int) -> None:
        with pytest.raises(ConfigError):
            client.configure({"sender": "memory:", "filters": ["no such filter"]})

    logged = under_load(client, fail)
    client.close()
    assert Counter(payloads(sender.events)) == Counter(logged)


def test_what_comes_too_late_passes_the_new_filters() -> None:
    """It goes where the new configuration says, so what must not get there does not."""
    new, encoder = MemorySender(), Held()
    client = MetlogClient.from_config({"sender": "memory:", "encoder": encoder})
    thread = threading.Thread(target=client.log, args=("held",), kwargs={"fields": {"password": "s3cret", "a": 1}})
    thread.start()
    assert encoder.inside.wait(10)
    client.configure({"sender": new, "filters": [{"name": "redact", "drop": ["password"]}]})
    encoder.go_on.set()
    thread.join()
    client.close(10)
    assert [(event.type, event.fields) for event in new.events][:1] == [("held", {"a": 1})]
    assert b"s3cret" not in b"".join(new.frames)


class OnlyWrites(Held):
    """An encoder for people: there is no way back."""

    def decode(self, frame: bytes) -> list[Event]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("encoder", "closed"), [(Held, True), (OnlyWrites, False)], ids=["closed", "an encoder that only writes"]
)
def test_what_comes_too_late_and_has_nowhere_to_go_is_counted(encoder: type[Held], closed: bool) -> None:
    made, lost = encoder(), Counter[str]()
    settings = {"sender": "memory:", "encoder": made, "on_drop": lambda reason, count: lost.update({reason: count})}
    client = MetlogClient.from_config(settings)
    thread = threading.Thread(target=client.log, args=("held",))
    thread.start()
    assert made.inside.wait(10)
    if closed:
        client.close(0.1)
    else:
        client.configure("memory:")
    made.go_on.set()
    thread.join()
    assert lost == {"closed": 1}


def test_a_call_that_finds_the_old_way_closed_has_the_new_configurations_fields(monkeypatch: Any) -> None:
    client = MetlogClient.from_config("memory:", fields={"release": 1})
    old = client._state.pipeline
    assert isinstance(old, Pipeline)
    admit, new = old.admit_severity, MemorySender()

    def slow(severity: int) -> int:  # as if another thread had come in here
        monkeypatch.undo()
        client.configure(sender=new, fields={"release": 2})
        return admit(severity)

    old.fast_path = (-1, *old.fast_path[1:])
    monkeypatch.setattr(old, "admit_severity", slow)
    client.log("a", severity=7)
    client.close(10)
    assert [(event.type, event.severity, event.fields) for event in new.events][:1] == [("a", 7, {"release": 2})]


def test_what_was_opened_for_a_configuration_that_fails_is_closed(monkeypatch: Any) -> None:
    closed: list[str] = []

    class Statsd:
        def close(self) -> None:
            closed.append("statsd")

    monkeypatch.setattr("metlog.statsd.client.make", lambda settings: Statsd())
    client = MetlogClient.from_config("memory:")
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError):
            client.configure(
                sender={"name": "zmq", "bind": True, "endpoint": f"tcp://127.0.0.1:{taken.getsockname()[1]}"},
                statsd={"host": "127.0.0.1"},
            )
    assert closed == ["statsd"]
    assert client.is_active
    client.close()
