"""An event that is larger than the transport can carry arrives cut, valid and marked; one that fits arrives whole."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from metlog import Event, MetlogClient
from metlog.core.truncate import MARK, truncated
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.encoders.text import TextEncoder
from metlog.plugins import build
from metlog.senders.memory import MemorySender
from metlog.testing.peers import DatagramPeer, StreamPeer
from tests.helpers.waiting import wait_for

DATAGRAM = 65507
UNIX = 131072
KEY = "k" * 32
ENCODERS: list[Any] = [
    "json",
    "msgpack",
    {"name": "signed", "key": KEY},
    {"name": "signed", "key": KEY, "encoder": "msgpack"},
]
ENCODER_IDS = ["json", "msgpack", "signed json", "signed msgpack"]


@pytest.fixture
def datagrams(request: Any, tmp_path: Path) -> Iterator[tuple[Any, DatagramPeer, int]]:
    """A sender with a limit, its peer, and the limit in bytes."""
    path = str(tmp_path / "socket")
    if request.param == "unix":
        with DatagramPeer(path) as peer:
            yield {"name": "unix", "path": path}, peer, UNIX
    else:
        with DatagramPeer() as peer:
            udp = f"udp://127.0.0.1:{peer.port}"
            # of two the tighter limit holds
            yield (
                (
                    udp
                    if request.param == "udp"
                    else {"name": "fallback", "senders": [udp, {"name": "unix", "path": path}]}
                ),
                peer,
                DATAGRAM,
            )


@pytest.mark.parametrize("datagrams", ["udp", "unix", "fallback"], indirect=True)
@pytest.mark.parametrize("encoder", ENCODERS, ids=ENCODER_IDS)
@pytest.mark.parametrize("interval", [0.05, 0], ids=["buffered", "at once"])
def test_a_payload_is_cut_to_the_datagram(
    datagrams: tuple[Any, DatagramPeer, int], encoder: Any, interval: float
) -> None:
    spec, peer, limit = datagrams
    payload = "é💡" * 400_000  # 2.4 MB
    with MetlogClient.from_config(
        {"sender": spec, "encoder": encoder, "buffer": {"flush_interval": interval}}
    ) as client:
        client.log("before", "small")
        client.log(("big", "one"), payload, fields={"user": "u1", "n": 1})
        client.log("after", "small")
        assert client.flush(10)
        assert client.stats().dropped == {}
        assert client.stats().sent == 3
        decode = client.encoder.decode
    wait_for(lambda: any(event.type == "metlog.end" for frame in list(peer.frames) for event in decode(frame)))
    assert max(map(len, peer.frames)) <= limit
    before, big, after, _ = [event for frame in peer.frames for event in decode(frame)]
    assert (before.payload, after.payload) == ("small", "small")
    assert (big.type, big.tokens, big.fields) == ("big", ("big", "one"), {"user": "u1", "n": 1, "truncated": True})
    kept = big.payload.removesuffix(MARK)
    assert kept != big.payload
    assert payload.startswith(kept)
    assert len(kept.encode()) > limit * 0.98  # as much as fits
    assert [event.seq for event in (before, big, after)] == [1, 2, 3]


def test_fields_go_when_they_alone_are_too_large_the_largest_first() -> None:
    with DatagramPeer() as peer:
        with MetlogClient.from_config(f"udp://127.0.0.1:{peer.port}") as client:
            client.log("big", "words", fields={"a": "x" * 30_000, "b": ["y" * 50_000], "c": "z" * 30_000, "user": "u1"})
            client.log("many", "words", fields={f"f{number}": "x" * 50 for number in range(2000)})
            client.flush(10)
        wait_for(lambda: len(peer.frames) >= 3)
    (big,), (many,), _ = [JsonEncoder().decode(frame) for frame in peer.frames]
    assert big.payload == "words"  # it fits, and is whole
    assert big.fields.keys() == {"a", "c", "user", "truncated"}
    assert 500 < len(many.fields) < 2000


def large(kind: str, folder: Path) -> Iterator[Any]:
    """A sender without a limit; then what has arrived, until it is what is wanted."""
    path = folder / "place"
    if kind == "file":
        yield f"file:{path}"
        yield path.read_bytes
    elif kind == "zmq":
        with zmq.Context() as context, context.socket(zmq.PULL) as pull:
            port = pull.bind_to_random_port("tcp://127.0.0.1")
            yield {"name": "zmq", "endpoint": f"tcp://127.0.0.1:{port}"}
            yield lambda: pull.recv() if pull.poll(10_000) else b""
    elif kind == "memory":
        sender = MemorySender()
        yield sender
        yield lambda: b"".join(sender.frames)
    else:
        with StreamPeer() if kind == "tcp" else StreamPeer(str(path)) as peer:
            yield (
                f"tcp://127.0.0.1:{peer.port}"
                if kind == "tcp"
                else {"name": "unix", "path": str(path), "kind": "stream"}
            )
            yield lambda: peer.data


@pytest.mark.parametrize("kind", ["file", "tcp", "unix", "zmq", "memory"])
def test_a_transport_without_a_limit_carries_it_whole(kind: str, tmp_path: Path) -> None:
    parts = large(kind, tmp_path)
    payload = "x" * 3_000_000
    with MetlogClient.from_config({"sender": next(parts)}) as client:
        client.log("big", payload)
        assert client.flush(10)
        arrived = next(parts)
        frame = wait_for(lambda: found if (found := arrived()).endswith(b"\n") else b"")
    (event,) = JsonEncoder().decode(frame.partition(b"\n")[0] + b"\n")
    assert (event.payload == payload, event.fields) == (True, {})


def test_text_for_people_is_cut_between_characters() -> None:
    with DatagramPeer() as peer:
        with MetlogClient.from_config({"sender": f"udp://127.0.0.1:{peer.port}", "encoder": "text"}) as client:
            client.log("big", "é" * 100_000)
            client.flush(10)
        wait_for(lambda: len(peer.frames) >= 2)
    text = peer.frames[0].decode()
    assert len(peer.frames[0]) in {DATAGRAM, DATAGRAM - 1}
    assert text.endswith(f"é{MARK}\n")


def test_signed_text_verifies_after_it_was_cut() -> None:
    encoder = SignedEncoder(key=KEY, encoder="text")
    alone = encoder.encode(Event(type="a", payload="é" * 10_000))
    cut = truncated(encoder.frame([alone]), alone, encoder, 1000)
    assert cut is not None
    assert len(cut) in {999, 1000}
    with pytest.raises(Exception, match="text is for people"):  # so the signature was right
        encoder.decode(cut)


@pytest.mark.parametrize(
    "encoder", [JsonEncoder(), MsgpackEncoder(), TextEncoder(), SignedEncoder(key=KEY)], ids=lambda e: type(e).__name__
)
def test_what_cannot_be_cut_to_fit_is_dropped_counted_and_told(encoder: Any) -> None:
    """A transport that cannot even carry the envelope: a radio's, say."""
    dropped: list[tuple[str, int]] = []
    sender = MemorySender(max_frame=64)
    sender.max_event = 10 if isinstance(encoder, TextEncoder) else 100  # type: ignore[attr-defined]
    with MetlogClient.from_config(
        {"sender": sender, "encoder": encoder, "on_drop": lambda reason, count: dropped.append((reason, count))}
    ) as client:
        for _ in range(3):
            client.log("reading", "x" * 50)
        client.flush(5)
        assert client.stats().dropped == {"too_large": 3}
        assert client.stats().sent == 0
    assert sum(count for reason, count in dropped if reason == "too_large") == 3


TEXT = st.text(max_size=200)


@given(
    event=st.builds(Event, type=TEXT, logger=TEXT, payload=st.text(max_size=3000), tokens=st.lists(TEXT, max_size=4).map(tuple),
                    fields=st.dictionaries(st.text(max_size=20), st.one_of(st.integers(-(2**63), 2**63), TEXT), max_size=6)),
    room=st.integers(10, 4000),
    encoder=st.sampled_from([JsonEncoder(), MsgpackEncoder(), SignedEncoder(key=KEY)]),
)  # fmt: skip
def test_whatever_the_event_it_fits_or_is_given_up(event: Event, room: int, encoder: Any) -> None:
    frame = encoder.frame([encoder.encode(event)])
    cut = truncated(frame, b"", encoder, room)
    if cut is None:
        assert room < 900  # the envelope with everything gone
        return
    assert len(cut) <= room
    (found,) = encoder.decode(cut)
    assert found.fields["truncated"] is True
    assert event.type.startswith(found.type)
    assert found.timestamp == event.timestamp
    kept = found.payload.removesuffix(MARK)
    assert event.payload.startswith(kept) or found.payload in (MARK, "")


def one_at_a_time(frame: bytes, encoder: Any, room: int) -> tuple[set[str], bool]:
    """The names of the fields that are left when the largest goes until the rest fits; whether tokens and names stay whole."""
    event = encoder.decode(frame)[0]
    fields = {**event.fields, "truncated": True}

    def size(fields: dict[str, Any]) -> int:
        payload = MARK if event.payload else ""
        return len(encoder.frame([encoder.encode(replace(event, payload=payload, fields=fields))]))

    sizes = {name: size({name: value}) for name, value in fields.items() if name != "truncated"}
    while size(fields) > room and sizes:
        largest = max(sizes, key=sizes.__getitem__)
        del fields[largest], sizes[largest]
    return set(fields), size(fields) <= room


@given(
    event=st.builds(Event, type=TEXT, logger=TEXT, payload=st.text(max_size=300), tokens=st.lists(TEXT, max_size=4).map(tuple),
                    fields=st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=60)),
    room=st.integers(200, 1500),
    encoder=st.sampled_from([JsonEncoder(), MsgpackEncoder(), SignedEncoder(key=KEY)]),
)  # fmt: skip
def test_of_the_fields_the_largest_go_and_no_more_than_has_to(event: Event, room: int, encoder: Any) -> None:
    frame = encoder.frame([encoder.encode(event)])
    cut = truncated(frame, b"", encoder, room)
    left, whole = one_at_a_time(frame, encoder, room)
    if cut is None:
        assert not whole
        return
    (found,) = encoder.decode(cut)
    assert set(found.fields) == left
    assert list(found.fields) == [
        name for name in {**event.fields, "truncated": True} if name in left
    ]  # in their order
    if whole:
        assert (found.type, found.tokens, found.logger) == (event.type, event.tokens, event.logger)


def test_many_fields_are_encoded_a_few_times_and_not_once_for_each_that_goes() -> None:
    class Counting(JsonEncoder):
        written = 0

        def encode(self, event: Event) -> bytes:
            data = super().encode(event)
            self.written += len(data)
            return data

    encoder = Counting()
    for number in (1000, 10_000):
        alone = encoder.encode(Event(type="many", payload="words", fields={f"f{i}": "x" * 10 for i in range(number)}))
        encoder.written = 0
        cut = truncated(encoder.frame([alone]), alone, encoder, len(alone) // 2)
        assert cut is not None
        assert len(cut) > len(alone) * 0.49
        # for each field the envelope with it, and the whole event as often as its number of fields can be halved
        assert encoder.written < number * 250 + len(alone) * (number.bit_length() + 5)


def test_the_limit_is_the_senders_own() -> None:
    for spec, limit in (
        ("udp://127.0.0.1", DATAGRAM),
        ("udp://192.0.2.1", DATAGRAM),
        ("unix:/run/x", UNIX),
        ("tcp:", None),
        ("null", None),
    ):
        sender = build("sender", spec, "sender")
        assert getattr(sender, "max_event", None) == limit
        sender.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain, pytest.raises(OSError, match="too long"):
        plain.sendto(b"x" * (DATAGRAM + 1), ("127.0.0.1", 9))
