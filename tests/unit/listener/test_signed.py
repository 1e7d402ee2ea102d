"""An input that demands signatures takes what a known key has signed, once, within its window; all else is a dead letter of its reason."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metlog import Event
from metlog.encoders.signed import SignedEncoder
from metlog.errors import ConfigError
from metlog.journal.errors import Full
from metlog.listener.config import from_mapping
from metlog.listener.service import Service
from metlog.listener.signed import _REMEMBERED, ALGORITHM, KEY, REPLAYED, STALE, UNSIGNED, WRONG, SignedSink, Signing
from tests.helpers.waiting import wait_for

SECRET = "a-secret-of-many-characters-0123"
NOW = 1_790_000_000.0
THEN = datetime.fromtimestamp(NOW, UTC)
EVENT = b'{"type":"a","timestamp":"2026-09-21T14:13:20Z"}\n'


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refused: list[str] = []
        self.full = False

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        self.taken.append(data)

    def frames(self, batch: Sequence[tuple[bytes, str]], received_at: int | None = None) -> None:
        self.taken += [data for data, _ in batch]

    def opened(self, body: bytes, source: str, key: str = "") -> bytes:
        return body

    def submit(self, events: Any, source: str, *, key: str = "", received_at: int | None = None) -> bool:
        if self.full:
            raise Full("no room")
        return True

    def reject(self, data: bytes, source: str, reason: str) -> None:
        self.refused.append(reason.partition(":")[0])


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def sink(*, required: bool = True, window: float = 300.0) -> tuple[Kept, SignedSink, Clock]:
    kept, clock = Kept(), Clock()
    return kept, SignedSink(kept, Signing({"default": SECRET.encode()}, required, window), clock), clock


def signed(*events: Event, encoder: str = "json", **more: Any) -> bytes:
    made = SignedEncoder(**{"key": SECRET, "encoder": encoder, **more})
    return made.frame([made.encode(event) for event in events])


def event(seconds: float = 0.0, **more: Any) -> Event:
    return Event(**{"type": "a", "timestamp": THEN + timedelta(seconds=seconds), "stream": "s", "seq": 1, **more})


@pytest.mark.parametrize("encoder", ["json", "msgpack"])
def test_a_signed_frame_is_taken_without_its_signature(encoder: str) -> None:
    kept, checked, _ = sink()
    checked.frame(signed(event(), event(1), encoder=encoder), "udp://x")
    assert kept.refused == []
    assert len(kept.taken) == 1
    assert b"metlog.signed" not in kept.taken[0]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (EVENT, UNSIGNED), (b"", UNSIGNED), (b"\xef\xbb\xbf" + EVENT, UNSIGNED), (b" " + signed(event()), UNSIGNED),
        (b'{"metlog.signed":"none"}\n' + EVENT, UNSIGNED),
        (b'{"metlog.signed":"none","key":"default","bytes":%d,"mac":""}\n' % len(EVENT) + EVENT, ALGORITHM),
        (b'{"metlog.signed":"hmac-sha256","key":"default","bytes":%d,"mac":"%s"}\n' % (len(EVENT), b"0" * 64) + EVENT, WRONG),
        (b'{"metlog.signed":"hmac-sha256","key":"default","bytes":9999,"mac":"%s"}\n' % (b"0" * 64) + EVENT, WRONG),
        (signed(event(), key_id="other"), KEY), (signed(event(), key="another-secret-of-many-characters"), WRONG),
        (signed(event(-301)), STALE), (signed(event(301)), STALE),
    ],
)  # fmt: skip
def test_what_is_not_signed_as_demanded_has_its_reason(frame: bytes, reason: str) -> None:
    kept, checked, _ = sink()
    checked.frame(frame, "udp://x")
    assert (kept.taken, kept.refused) == ([], [reason])


@settings(deadline=None)
@given(st.data())
def test_no_change_of_a_frame_is_taken(data: st.DataObject) -> None:
    whole = signed(event(), event(2, payload="pay 5"))
    at = data.draw(st.integers(0, len(whole) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "double", "prefix"]))
    if how == "flip":
        changed = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    elif how == "cut":
        changed = whole[:at] + whole[at + data.draw(st.integers(1, 50)) :]
    elif how == "insert":
        changed = whole[:at] + data.draw(st.binary(min_size=1, max_size=20)) + whole[at:]
    elif how == "double":
        changed = whole + whole[at:]
    else:
        changed = data.draw(st.binary(min_size=1, max_size=5)) + whole
    kept, checked, _ = sink()
    checked.frame(changed, "udp://x")
    inner = whole[whole.index(b"\n") + 1 :]
    # White space within the first line, or another spelling of it, changes nothing of what was signed.
    assert kept.taken in ([], [inner])
    assert len(kept.taken) + len(kept.refused) == 1


def test_a_frame_that_was_recorded_is_taken_once_and_never_after_its_window() -> None:
    kept, checked, clock = sink(window=300)
    frame = signed(event())
    for wait in (0, 1, 299, 0.5, 400, 10_000):
        clock.now += wait
        checked.frame(frame, "udp://attacker")
    assert len(kept.taken) == 1
    assert set(kept.refused) == {REPLAYED, STALE}


def test_a_body_that_was_not_taken_may_be_sent_again_and_is_taken_once() -> None:
    kept, checked, _ = sink()
    body, other = signed(event()), signed(event(1))
    kept.full = True
    for _ in range(3):
        opened = checked.opened(body, "http://x")
        assert opened is not None
        with pytest.raises(Full):
            checked.submit([], "http://x")
    kept.full = False
    assert checked.opened(body, "http://x") == opened
    assert checked.submit([], "http://x")
    kept.full = True
    with pytest.raises(Full):
        checked.submit([], "http://x")  # of others
    assert checked.opened(other, "http://x") is not None  # and is never submitted
    for again in (body, other):
        assert checked.opened(again, "http://x") is None
        with pytest.raises(Full):
            checked.submit([], "http://x")  # of others
        assert checked.opened(again, "http://x") is None
    assert set(kept.refused) == {REPLAYED}


def test_a_body_that_was_not_taken_is_known_by_its_key() -> None:
    kept, checked, _ = sink()
    body = signed(event())
    kept.full = True
    assert checked.opened(body, "http://x", "ns/1") is not None
    with pytest.raises(Full):
        checked.submit([], "http://x", key="ns/1")
    kept.full = False
    assert checked.opened(body, "http://attacker", "ns/2") is None
    assert checked.opened(body, "http://attacker") is None
    assert checked.opened(body, "http://x", "ns/1") is not None


def test_bodies_of_other_threads_are_not_forgotten() -> None:
    kept, checked, _ = sink()
    bodies = [signed(event(number)) for number in range(20)]

    def send(body: bytes) -> None:
        assert checked.opened(body, "http://x") is not None
        assert checked.submit([], "http://x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, bodies))
    kept.full = True
    with pytest.raises(Full):
        checked.submit([], "http://x")
    assert [checked.opened(body, "http://x") for body in bodies] == [None] * 20


def test_a_first_line_spelt_in_another_way_makes_no_frame_new() -> None:
    kept, checked, _ = sink()
    frame = signed(event())
    for spelt in (
        frame,
        frame.replace(b'":"hmac', b'": "hmac', 1),
        frame.replace(b"{", b"{ ", 1).replace(b'{ "m', b'{"m', 1) + b"",
    ):
        checked.frame(spelt, "udp://attacker")
    assert len(kept.taken) == 1
    assert kept.refused == [REPLAYED, REPLAYED]


def test_an_old_event_beside_a_new_one_is_taken() -> None:
    kept, checked, _ = sink()
    checked.frame(signed(event(-5000), event()), "udp://x")
    assert kept.refused == []


def test_signatures_are_remembered_in_a_bounded_number() -> None:
    _, checked, clock = sink()
    for number in range(2000):
        checked._check_new(b"%d" % number, "")
    assert len(checked) == 2000
    clock.now += 601
    checked._check_new(b"new", "")
    assert len(checked) == 1
    for number in range(_REMEMBERED + 10):
        checked._check_new(b"%d" % number, "")
    assert len(checked) == _REMEMBERED


def test_where_signatures_are_optional_a_wrong_one_is_refused_all_the_same() -> None:
    kept, checked, _ = sink(required=False)
    checked.frame(EVENT, "udp://x")
    checked.frame(signed(event(), key="another-secret-of-many-characters"), "udp://x")
    assert (kept.taken, kept.refused) == ([EVENT], [WRONG])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keys": {"a": "short-secret"}}, "too short"), ({"signed": "required"}, "wants `keys`"),
        ({"keys": "geheim-geheim-geheim"}, "a table"),
        ({"keys": {"a": SECRET}, "signed": "maybe"}, "required"), ({"keys": {"a": SECRET}, "replay_window": 0}, "86400"),
        ({"keys_file": "/nowhere"}, "keys_file"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_told_without_secrets(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        from_mapping({"inputs": [{"name": "udp", "port": 0, **options}]})
    assert "secret-of" not in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("name", ["statsd", "tcp", "syslog", "otlp", "loki", "elasticsearch"])
def test_an_input_that_cannot_check_signatures_says_so(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the input {name} takes no signed frames"):
        from_mapping({"inputs": [{"name": name, "port": 0, "keys": {"a": SECRET}}]})


@pytest.mark.process
def test_a_signed_submission_that_found_no_room_is_taken_when_it_comes_again(tmp_path: Path) -> None:
    spec = {"name": "http", "port": 0, "keys": {"default": SECRET}, "deletable": ["*"]}
    config = from_mapping({"listener": {"data": str(tmp_path / "data")}, "inputs": [spec]})
    service = Service(config)
    service.start()
    try:
        (http,) = service.addresses
        body = signed(event(timestamp=datetime.now(UTC)))

        def post() -> int:
            return httpx.post(
                f"{http}/submit/x", content=body, headers={"content-type": "application/json"}
            ).status_code

        service.journal.configure(msgspec.structs.replace(config.journal, min_free=1 << 60), config.clock)
        assert [post(), post()] == [503, 503]
        service.journal.configure(msgspec.structs.replace(config.journal, min_free=0), config.clock)
        wait_for(lambda: not service.journal.refuses)
        assert [post(), post()] == [201, 403]
        assert httpx.delete(f"{http}/submit/x/1").status_code == 403  # nothing of it is signed
        assert service.status()["dead_letters"] == {REPLAYED: 1, UNSIGNED: 1}
    finally:
        service.stop()


@pytest.mark.process
def test_a_listener_takes_what_is_signed_over_udp_and_http(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# senders\ndefault {SECRET}\n")
    config = from_mapping(
        {
            "listener": {"data": str(tmp_path / "data")},
            "inputs": [
                {"name": "udp", "port": 0, "keys": {"default": SECRET}},
                {"name": "http", "port": 0, "keys_file": str(keys)},
            ],
        }
    )
    service = Service(config)
    service.start()
    try:
        udp, http = (next(a for a in service.addresses if a.startswith(kind)) for kind in ("udp", "http"))
        now = datetime.now(UTC)
        frame = signed(event(timestamp=now, type="good"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (frame, frame, EVENT):
                sock.sendto(data, ("127.0.0.1", int(udp.rpartition(":")[2])))
        json_type = {"content-type": "application/json"}
        body = signed(event(timestamp=now, type="over http"))
        statuses = [
            httpx.post(f"{http}/submit/x", content=body, headers=json_type).status_code,
            httpx.post(f"{http}/submit/x", content=body, headers=json_type).status_code,
            httpx.post(f"{http}/submit/x", content=EVENT, headers=json_type).status_code,
        ]
        assert statuses == [201, 403, 403]
        again = signed(event(timestamp=now, type="with an id"))
        for _ in range(2):
            assert httpx.post(f"{http}/submit/x/1", content=again, headers=json_type).status_code == 201
        assert httpx.post(f"{http}/submit/x/2", content=again, headers=json_type).status_code == 403
        wait_for(lambda: service.status()["dead_letters"].get(UNSIGNED) == 2)
        letters = service.status()["dead_letters"]
        assert letters == {UNSIGNED: 2, REPLAYED: 3}
        assert service.status()["ingest" if "ingest" in service.status() else "intake"]["journaled"] == 3
    finally:
        service.stop()
    reasons = {
        json.loads(line)["reason"] for path in (tmp_path / "data" / "dead").glob("*.ndjson") for line in path.open()
    }
    assert reasons == {UNSIGNED, REPLAYED}
