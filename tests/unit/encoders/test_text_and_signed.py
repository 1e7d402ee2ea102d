"""`text` is in colour on a terminal only; `signed` refuses whatever its key did not sign, in constant time."""

from __future__ import annotations

import hmac
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metlog import DecodeError, Event, MetlogClient
from metlog.encoders import signed
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.encoders.text import TextEncoder
from metlog.senders.memory import MemorySender

PROGRAM = """
import metlog, sys
client = metlog.MetlogClient.from_config(sender=sys.argv[1], encoder={"name": "text", "color": sys.argv[2]})
client.log("disk", "full", severity=2)
client.close()
"""


def on_a_terminal(sender: str, color: str = "auto", **environment: str) -> bytes:
    """What the program writes to a terminal that is its standard output and standard error."""
    ours, theirs = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM"}}
    try:
        command = [sys.executable, "-c", PROGRAM, sender, color]
        subprocess.run(command, stdout=theirs, stderr=theirs, env={**env, **environment}, timeout=30, check=True)
        os.write(theirs, b"end\n")
        written = b""
        while b"end" not in written:
            written += os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    return written


@pytest.mark.process
@pytest.mark.parametrize("sender", ["stdout", "stderr"])
def test_text_is_in_colour_on_a_terminal(sender: str) -> None:
    written = on_a_terminal(sender, TERM="xterm")
    assert b"\x1b[1;31mCRITICAL\x1b[0m" in written


@pytest.mark.process
@pytest.mark.parametrize(
    ("color", "environment"), [("auto", {"NO_COLOR": "1"}), ("auto", {"TERM": "dumb"}), ("never", {"TERM": "xterm"})]
)
def test_text_is_not_in_colour_where_nobody_wants_it(color: str, environment: dict[str, str]) -> None:
    written = on_a_terminal("stdout", color, **environment)
    assert b"CRITICAL disk" in written
    assert b"\x1b" not in written


@pytest.mark.process
def test_a_file_has_no_colours_although_the_program_runs_on_a_terminal(tmp_path: Path) -> None:
    on_a_terminal(f"file:{tmp_path}/log", TERM="xterm")
    written = (tmp_path / "log").read_bytes()
    assert b"CRITICAL disk" in written
    assert b"\x1b" not in written


@pytest.mark.process
@pytest.mark.parametrize(("color", "coloured"), [("auto", False), ("always", True), ("never", False)])
def test_a_pipe_has_colours_only_when_they_are_asked_for(color: str, coloured: bool) -> None:
    command = [sys.executable, "-c", PROGRAM, "stdout", color]
    written = subprocess.run(command, capture_output=True, timeout=30, check=True).stdout
    assert b"CRITICAL" in written
    assert (b"\x1b" in written) is coloured


def test_an_encoder_for_a_terminal_and_a_file_has_no_colours() -> None:
    class Terminal(MemorySender):
        def isatty(self) -> bool:
            return True

    for senders in ([Terminal(), MemorySender()], [MemorySender(), Terminal()]):
        encoder = TextEncoder()
        clients = [MetlogClient.from_config(sender=sender, encoder=encoder) for sender in senders]
        for client in clients:
            client.log("a")
            client.close()
        assert b"\x1b" not in b"".join(frame for sender in senders for frame in sender.frames)


# ---- signed


KEY = "k" * 32
INNER = {"json": JsonEncoder, "msgpack": MsgpackEncoder}


def frame_of(encoder: SignedEncoder) -> bytes:
    return encoder.frame([encoder.encode(Event(type=kind, payload="p" * 20)) for kind in ("a", "b")])


@pytest.mark.parametrize("inner", INNER)
def test_every_changed_byte_is_refused(inner: str) -> None:
    encoder = SignedEncoder(key=KEY, encoder=inner)
    frame = frame_of(encoder)
    assert [event.type for event in encoder.decode(frame)] == ["a", "b"]
    for place in range(len(frame)):
        changed = bytearray(frame)
        changed[place] ^= 1
        with pytest.raises(DecodeError):
            encoder.decode(bytes(changed))


@pytest.mark.parametrize("inner", INNER)
def test_what_is_cut_longer_or_not_signed_is_refused(inner: str) -> None:
    encoder = SignedEncoder(key=KEY, encoder=inner)
    frame = frame_of(encoder)
    bare = INNER[inner]()
    bad = {
        "cut": frame[:-1],
        "longer": frame + b"\n",
        "twice": frame + frame,
        "empty": b"",
        "only the line": frame.partition(b"\n")[0] + b"\n",
        "not signed": bare.frame([bare.encode(Event(type="a"))]),
        "another key": frame_of(SignedEncoder(key="x" * 32, encoder=inner)),
        "another key id": frame_of(SignedEncoder(key=KEY, key_id="other", encoder=inner)),
        "another algorithm": frame.replace(b"hmac-sha256", b"none", 1),
        "an empty signature": frame.replace(frame.partition(b'"mac":"')[2][:64], b"", 1),
    }
    for what, data in bad.items():
        with pytest.raises(DecodeError) as caught:
            encoder.decode(data)
        assert KEY not in str(caught.value), what


def test_a_key_is_replaced_without_a_gap() -> None:
    old, new = SignedEncoder(key=KEY, key_id="1"), SignedEncoder(key="n" * 32, key_id="2")
    both = SignedEncoder(key=KEY, key_id="1", keys={"2": "n" * 32})
    for encoder in (old, new):
        assert len(both.decode(frame_of(encoder))) == 2


def test_the_signature_is_compared_in_constant_time_and_nothing_is_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hmac.compare_digest` alone decides, over all of both digests; the events are not looked at when it says no."""
    asked: list[tuple[Any, Any]] = []
    verdict = False

    def judge(one: Any, other: Any) -> bool:
        asked.append((one, other))
        return verdict

    encoder = SignedEncoder(key=KEY)
    frame = frame_of(encoder)
    wrong = frame.replace(frame.partition(b'"mac":"')[2][:64], b"0" * 64, 1)
    monkeypatch.setattr(signed.hmac, "compare_digest", judge)
    read: list[bytes] = []
    monkeypatch.setattr(encoder._inner, "decode", lambda data: read.append(data) or [])
    for data in (frame, wrong):
        with pytest.raises(DecodeError, match="is wrong"):
            encoder.decode(data)
    assert read == []
    verdict = True
    encoder.decode(wrong)
    assert len(read) == 1
    mac = hmac.new(KEY.encode(), read[0], "sha256").hexdigest().encode()
    assert asked == [(mac, mac), (mac, b"0" * 64), (mac, b"0" * 64)]
