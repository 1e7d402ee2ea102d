from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from metlog import plugins
from metlog.errors import SenderError
from metlog.senders.stream import StderrSender, StdoutSender
from tests.helpers.devices import FULL, needs_full


class Stream:
    """Stands in for sys.stdout on a descriptor of our own."""

    def __init__(self, fd: int) -> None:
        self.fd, self.flushed = fd, 0

    def fileno(self) -> int:
        return self.fd

    def flush(self) -> None:
        self.flushed += 1


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    files = [os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb", buffering=0)]
    yield files
    for file in files:
        file.close()


def test_frames_go_to_the_descriptor(capfd):
    out, err = plugins.build("sender", "stdout", "sender"), plugins.build("sender", "stderr", "sender")
    out.send(b'{"n":1}\n')
    err.send(b'{"n":2}\n')
    out.close()
    err.close()
    assert capfd.readouterr() == ('{"n":1}\n', '{"n":2}\n')


@pytest.mark.process
def test_what_the_application_printed_comes_first():
    code = (
        "from metlog.senders.stream import StdoutSender\n"
        "print('before'); s = StdoutSender(); s.send(b'{}\\n'); print('after'); s.close(); print('still open')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"before\n{}\nafter\nstill open\n"


def test_a_replaced_stream_is_followed():
    sender = StdoutSender()
    with contextlib.redirect_stdout(io.StringIO()) as text:
        sender.send("é\n".encode())
    assert text.getvalue() == "é\n"


def test_a_replacement_needs_no_more_than_write(monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=written.append))
    StdoutSender().send(b"1\n")
    assert written == ["1\n"]


def test_a_reader_that_is_gone_is_a_reason_and_not_the_end(pipe, monkeypatch):
    reader, writer = pipe
    monkeypatch.setattr(sys, "stdout", Stream(writer.fileno()))
    sender = StdoutSender()
    sender.send(b"1\n")
    reader.close()
    for _ in range(2):
        with pytest.raises(SenderError, match="nobody reads stdout any more") as caught:
            sender.send(b"2\n")
        assert caught.value.reason == "refused"


def test_closed_and_missing_streams_are_a_reason(monkeypatch):
    stream = io.StringIO()
    stream.close()
    for gone in (stream, None):
        monkeypatch.setattr(sys, "stderr", gone)
        with pytest.raises(SenderError) as caught:
            StderrSender().send(b"x\n")
        monkeypatch.undo()
        assert caught.value.reason == "unreachable"


@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_gets_everything(pipe, blocking, monkeypatch):
    reader, writer = pipe
    monkeypatch.setattr(sys, "stdout", Stream(writer.fileno()))
    os.set_blocking(writer.fileno(), blocking)
    frames = [b"%06d" % number * 5000 + b"\n" for number in range(8)]
    sender = StdoutSender()

    def send():
        for frame in frames:
            sender.send(frame)
        writer.close()

    thread = threading.Thread(target=send)
    thread.start()
    got = b""
    while chunk := reader.read(1000):
        got += chunk
    thread.join(5)
    assert got == b"".join(frames)


def test_close_ends_a_write_that_nobody_reads(pipe, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Stream(pipe[1].fileno()))
    sender = StdoutSender()
    caught = []

    def stuck():
        with pytest.raises(SenderError) as info:
            sender.send(b"x" * 1_000_000)
        caught.append(info.value.reason)

    thread = threading.Thread(target=stuck)
    thread.start()
    time.sleep(0.1)  # not a condition: whenever close comes, the send must end
    begun = time.perf_counter()
    sender.close()
    thread.join(5)
    assert time.perf_counter() - begun < 1
    assert caught == ["timeout"]


@needs_full
def test_a_full_device_is_a_reason(monkeypatch):
    with FULL.open("wb") as full:
        monkeypatch.setattr(sys, "stdout", Stream(full.fileno()))
        with pytest.raises(SenderError, match="No space left"):
            StdoutSender().send(b"x")


def test_pickling_works_since_nothing_is_held(capfd):
    copy = pickle.loads(pickle.dumps(StdoutSender(max_frame=1000)))
    copy.send(b"copy\n")
    assert copy.max_frame == 1000
    assert capfd.readouterr().out == "copy\n"
