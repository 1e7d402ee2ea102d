"""Every encoder and the listener's two ways in agree on every frame of tests/corpus."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.errors import DecodeError
from metlog.lake.query import open_lake
from metlog.listener.inputs import _http_body as http_body
from metlog.listener.inputs._http_server import Refusal
from metlog.listener.validate import validate
from tests.helpers.corpus import (
    DEFAULTS,
    FOLDER,
    FRAMES,
    MANIFEST,
    assert_same,
    builtins,
    frame_of,
    in_utc,
    of,
    rfc3339,
    whole,
)
from tests.helpers.ports import port_of

REASONS = {
    "neither": "neither JSON lines nor MessagePack",
    "json": "not JSON: ",
    "msgpack": "not MessagePack: ",
    "utf-8": "not UTF-8",
    "line": "more than one event on a line",
    "depth": "nested too deeply",
    "event": "not an event: ",
}
"""What the listener's reasons begin with, by `kind`."""


def says(words: str, reason: str) -> bool:
    return any(word in reason for word in words.split("|"))


def test_files_and_manifest_name_each_other() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*")}
    assert files == {entry["file"] for entry in FRAMES}
    assert len(files) == len(FRAMES) > 100
    assert all(bad["kind"] in {*REASONS, "signature"} for entry in FRAMES for bad in entry.get("bad", ()))


# ---- clients ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [*of("json"), *of("msgpack")])
def test_a_clients_decode_gives_the_events_or_the_reason(entry: dict[str, Any]) -> None:
    encoder = JsonEncoder() if entry["file"].startswith("json") else MsgpackEncoder()
    frame = frame_of(entry)
    if "bad" not in entry:
        assert_same([builtins(event) for event in encoder.decode(frame)], entry["events"])
        return
    with pytest.raises(DecodeError) as caught:
        encoder.decode(frame)
    assert says(entry["bad"][0]["words"], str(caught.value))


@pytest.mark.parametrize("entry", of("signed"))
def test_the_encoder_signed_takes_what_verifies_and_refuses_the_rest(entry: dict[str, Any]) -> None:
    key = MANIFEST["key"]
    encoder = SignedEncoder(key=key["secret"], key_id=key["id"], encoder=entry["inner"])
    frame = frame_of(entry)
    if "bad" not in entry:
        events = encoder.decode(frame)
        assert_same([builtins(event) for event in events], entry["events"])
        assert encoder.frame([encoder.encode(event) for event in events]).startswith(b'{"metlog.signed":"hmac-sha256",')
        return
    with pytest.raises(DecodeError) as caught:
        encoder.decode(frame)
    assert says(entry["bad"][0]["words"], str(caught.value))


@pytest.mark.parametrize("entry", [*of("json", bad=False), *of("msgpack", bad=False)])
@pytest.mark.parametrize("make", [JsonEncoder, MsgpackEncoder])
def test_a_good_frame_written_again_in_either_form_says_the_same(entry: dict[str, Any], make: Any) -> None:
    encoder = make()
    reader = JsonEncoder() if entry["file"].startswith("json") else MsgpackEncoder()
    events = reader.decode(frame_of(entry))
    if entry["file"] == "json/numbers.ndjson":
        del events[0].fields["larger"]  # integers beyond 64 bits are read from others, and written as text
    assert encoder.decode(encoder.frame([encoder.encode(event) for event in events])) == events


# ---- the listener ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [*of("json"), *of("msgpack"), *of("signed")])
def test_the_listener_takes_the_good_events_and_tells_why_not_the_others(entry: dict[str, Any]) -> None:
    checked = validate(frame_of(entry))
    lines = [msgspec.json.decode(line) for line in checked.lines.splitlines()]
    assert len(lines) == checked.count
    assert_same([whole(line) for line in map(in_utc, lines)], entry["events"])
    if entry["file"].startswith("signed"):  # nobody asked for a signature: it is passed over
        assert checked.invalid == []
        return
    bad = entry.get("bad", [])
    assert len(checked.invalid) == len(bad)
    for found, wanted in zip(checked.invalid, bad, strict=True):
        assert found.reason.startswith(REASONS[wanted["kind"]])
        if wanted["kind"] in {"event", "json"}:
            assert says(wanted["words"], found.reason)


@pytest.mark.parametrize("entry", [*of("json"), *of("msgpack"), *of("signed")])
def test_a_body_of_an_http_submission_means_the_same(entry: dict[str, Any]) -> None:
    frame, special = frame_of(entry), entry.get("http", "")
    if special == "takes":
        assert http_body.validated(frame, "", 1000)
    elif special == "refuses" or ("bad" in entry and not entry["file"].startswith("signed")):
        with pytest.raises(Refusal) as caught:
            http_body.validated(frame, "", 1000)
        assert caught.value.response.status == (413 if "4294967295" in str(caught.value) else 400)
        assert special or says(entry["bad"][0]["words"], str(caught.value))
    else:
        lines = http_body.validated(frame, "", 1000).lines.splitlines()
        assert_same([whole(in_utc(msgspec.json.decode(line))) for line in lines], entry["events"])


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """`metlog listen` as a process; its data folder and port."""
    data = tmp_path_factory.mktemp("corpus") / "data"
    command = [sys.executable, "-m", "metlog", "listen", "--data", str(data), "--udp", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = port_of(process.stdout.readline())
            assert process.stdout.readline().startswith("ready")
            yield data, port
        finally:
            process.terminate()


@pytest.mark.process
def test_datagrams_end_as_the_rows_and_dead_letters_that_the_corpus_says(listener: tuple[Path, int]) -> None:
    data, port = listener
    sources: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        for entry in FRAMES:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))  # one each: tells them apart
            sock.connect(("127.0.0.1", port))
            sock.send(frame_of(entry))
            sources["udp://{}:{}".format(*sock.getsockname())] = entry
    total = sum(len(entry["events"]) for entry in FRAMES)
    lake = open_lake(data)
    end = time.monotonic() + 30
    while lake.query("SELECT count(*) FROM events").rows != [(total,)] and time.monotonic() < end:
        time.sleep(0.05)
    columns = ["timestamp", "type", *DEFAULTS, "claimed_timestamp", "received_at", "source"]
    rows = [
        dict(zip(columns, row, strict=True))
        for row in lake.query(f"SELECT {', '.join(columns)} FROM events", limit=10_000).rows
    ]
    assert len(rows) == total
    for row in rows:
        row["timestamp"] = rfc3339(row["claimed_timestamp"] or row["timestamp"])
        row["fields"] = json.loads(row["fields"])
    for source, entry in sources.items():
        timed = any("timestamp" in event for event in entry["events"])

        def order(event: dict[str, Any], timed: bool = timed) -> str:
            """A query gives rows in any order."""
            return json.dumps([event["timestamp"] if timed else "", event["type"], *(event[key] for key in DEFAULTS)])

        mine = sorted((row for row in rows if row["source"] == source), key=order)
        assert_same(mine, sorted((whole(in_utc(event)) for event in entry["events"]), key=order))
    letters = [json.loads(line) for path in data.glob("dead/**/*") if path.is_file() for line in path.open()]
    for source, entry in sources.items():
        told = [letter["reason"] for letter in letters if letter["source"] == source]
        wanted = [] if entry["file"].startswith("signed") else entry.get("bad", [])
        assert len(told) == len(wanted)
        assert all(reason.startswith(REASONS[bad["kind"]]) for reason, bad in zip(told, wanted, strict=True))
