from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
import threading
import time

import pytest

from metlog import plugins
from metlog.errors import ConfigError, SenderError
from metlog.senders.file import FileSender
from tests.helpers.devices import FULL, needs_full


def line(number: int, size: int = 20) -> bytes:
    return b'{"n":%d,"pad":"%s"}\n' % (number, b"x" * size)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.ndjson"


def test_frames_are_appended_to_what_is_there(path):
    path.write_bytes(line(0))
    sender = FileSender(path=str(path))
    sender.send(line(1))
    sender.send(line(2) + line(3))
    assert path.read_bytes() == b"".join(map(line, range(4)))
    sender.close()


def test_nothing_is_opened_before_the_first_frame_and_the_file_has_mode_0640(path):
    sender = plugins.build("sender", f"file://{path}", "sender")
    assert not path.exists()
    before = os.umask(0)
    try:
        sender.send(line(1))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    sender.close()


def test_half_a_line_left_by_a_crash_does_not_take_the_first_frame_with_it(path):
    path.write_bytes(line(0) + b'{"n":1,"pa')
    sender = FileSender(path=str(path))
    sender.send(line(2))
    assert path.read_bytes() == line(0) + b'{"n":1,"pa\n' + line(2)
    sender.close()


def test_half_a_line_left_by_another_process_does_not_take_the_next_frame_with_it(path):
    sender = FileSender(path=str(path))
    sender.send(line(0))
    with path.open("ab") as other:
        other.write(b'{"n":1,"pa')
    sender.send(line(2))
    sender.send(line(3))
    assert path.read_bytes() == line(0) + b'{"n":1,"pa\n' + line(2) + line(3)
    sender.close()


def test_half_a_line_does_not_take_the_frame_behind_one_that_did_not_fit(path, monkeypatch):
    path.write_bytes(b'{"n":1,"pa')
    sender = FileSender(path=str(path))

    def full(fd, data):
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(SenderError, match="no space left"):
            sender.send(line(2))
    sender.send(line(3))
    assert path.read_bytes() == b'{"n":1,"pa\n' + line(3)
    sender.close()


def test_rotation_by_size_keeps_so_many_and_loses_nothing(path):
    size = len(line(10))
    sender = FileSender(path=str(path), max_bytes=size * 3, keep=2)
    for number in range(10, 20):
        sender.send(line(number))
    files = [path.read_bytes(), *((path.parent / f"app.ndjson.{i}").read_bytes() for i in (1, 2))]
    assert files == [line(19), b"".join(map(line, (16, 17, 18))), b"".join(map(line, (13, 14, 15)))]
    assert sorted(os.listdir(path.parent)) == ["app.ndjson", "app.ndjson.1", "app.ndjson.2"]
    sender.close()


def test_a_rotation_that_fails_says_so_and_removes_no_older_file(path, monkeypatch):
    size = len(line(0))
    sender = FileSender(path=str(path), max_bytes=size, keep=3)
    for number in range(4):
        sender.send(line(number))
    replace = type(path).replace

    def busy(self, target):
        if self == path:
            raise OSError(errno.EBUSY, "Device or resource busy")  # as of a file that is a container's mount
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "replace", busy)
        for _ in range(5):
            with pytest.raises(
                SenderError, match=r"cannot be renamed to app.ndjson.1: Device or resource busy; with max_bytes"
            ):
                sender.send(line(9))
    kept = [path.with_name(f"app.ndjson.{number}") for number in (2, 3)]
    assert [file.read_bytes() for file in (path, *kept)] == [line(3), line(2), line(1)]
    sender.send(line(4))
    assert path.with_name("app.ndjson.1").read_bytes() == line(3)
    sender.close()


def test_a_frame_larger_than_the_limit_has_a_file_for_itself(path):
    sender = FileSender(path=str(path), max_bytes=100, keep=3)
    for number in range(3):
        sender.send(line(number, 500))
    assert path.read_bytes() == line(2, 500)
    assert (path.parent / "app.ndjson.2").read_bytes() == line(0, 500)
    sender.close()


def test_rename_and_removal_from_outside_are_noticed(path):
    sender = FileSender(path=str(path))
    sender.send(line(1))
    path.rename(path.with_suffix(".old"))
    sender.send(line(2))
    assert (path.read_bytes(), path.with_suffix(".old").read_bytes()) == (line(2), line(1))
    path.unlink()
    sender.send(line(3))
    assert path.read_bytes() == line(3)
    sender.close()


def test_a_symbolic_link_is_not_followed(path, tmp_path):
    secret = tmp_path / "target"
    secret.write_bytes(b"mine")
    path.symlink_to(secret)
    sender = FileSender(path=str(path))
    with pytest.raises(SenderError, match="symbolic link is not followed") as caught:
        sender.send(line(1))
    assert caught.value.reason == "unreachable"
    assert secret.read_bytes() == b"mine"
    path.unlink()
    sender.send(line(2))
    assert path.read_bytes() == line(2)
    sender.close()


def test_a_pipe_is_refused_and_does_not_block(path):
    os.mkfifo(path)
    sender = FileSender(path=str(path))
    with pytest.raises(SenderError, match="neither a file") as caught:
        sender.send(line(1))
    assert caught.value.reason == "unreachable"
    sender.close()


CHILD = """
import resource, sys
from metlog.errors import SenderError
from metlog.senders.file import FileSender
path, kind = sys.argv[1:]
sender = FileSender(path=path)
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sent, full = [], 0
for number in range(100):
    frame = b'{"n":%d,"pad":"%s"}\\n' % (number, b"x" * (300 if kind == "limit" else 7000))
    try:
        sender.send(frame)
        sent.append(frame)
    except SenderError as error:
        assert error.reason == "full", error
        full += 1
assert full > 10, full
assert open(path, "rb").read() == b"".join(sent)
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**9, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
else:
    import os
    os.unlink(path + ".filler")
sender.send(frame)
assert open(path, "rb").read() == b"".join(sent) + frame
"""


@pytest.mark.process
def test_a_limit_reached_in_the_middle_of_a_frame_leaves_no_half_line(path):
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("this session has a hard limit on file sizes")
    subprocess.run([sys.executable, "-c", CHILD, str(path), "limit"], check=True, timeout=30)


@pytest.mark.process
def test_a_full_disk_leaves_no_half_line_and_going_on_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True, timeout=10
    )
    if mount.returncode:
        pytest.skip(f"needs to mount a small tmpfs, as root: {mount.stderr.strip()}")
    try:
        (disk / "app.ndjson.filler").write_bytes(b"x" * 32768)
        subprocess.run([sys.executable, "-c", CHILD, str(disk / "app.ndjson"), "disk"], check=True, timeout=30)
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)


@needs_full
def test_dev_full_is_full():
    sender = FileSender(path=str(FULL))
    with pytest.raises(SenderError) as caught:
        sender.send(line(1))
    assert caught.value.reason == "full"
    sender.close()


@pytest.mark.process
def test_several_processes_share_a_file_and_its_rotation(path):
    code = """
import sys
from metlog.senders.file import FileSender
sender = FileSender(path=sys.argv[1], max_bytes=20_000, keep=50)
for number in range(300):
    sender.send(b'{"who":"%s","n":%03d}\\n' % (sys.argv[2].encode(), number) * 3)
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), who]) for who in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = sorted(path.parent.iterdir(), key=lambda file: -int(file.suffix[1:]) if file.suffix[1:].isdigit() else 0)
    lines = b"".join(file.read_bytes() for file in files).splitlines()
    assert len(lines) == 2700
    for who in "abc":
        mine = [row for row in lines if b'"who":"%s"' % who.encode() in row]
        assert mine == [b'{"who":"%s","n":%03d}' % (who.encode(), number) for number in range(300) for _ in range(3)]
    assert all(file.stat().st_size <= 20_000 for file in files)


def test_a_file_locked_by_another_does_not_hold_close_up(path):
    import fcntl

    sender = FileSender(path=str(path))
    sender.send(line(1))
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        caught = []

        def stuck():
            with pytest.raises(SenderError) as info:
                sender.send(line(2))
            caught.append(info.value.reason)

        thread = threading.Thread(target=stuck)
        thread.start()
        while not sender._busy.locked():
            time.sleep(0.001)
        begun = time.perf_counter()
        sender.close()
        thread.join(5)
        assert time.perf_counter() - begun < 1
        assert caught == ["timeout"]
    assert path.read_bytes() == line(1)


@pytest.mark.parametrize(("policy", "after_two", "after_flush"), [("never", 0, 0), ("always", 2, 2), ("3600", 0, 1)])
def test_fsync_policy(path, monkeypatch, policy, after_two, after_flush):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (stat.S_ISREG(os.fstat(fd).st_mode) and synced.append(fd), real(fd)))
    sender = plugins.build("sender", {"name": "file", "path": str(path), "fsync": policy}, "sender")
    sender.send(line(1))
    sender.send(line(2))
    assert len(synced) == after_two
    sender.flush()
    sender.flush()  # nothing new: nothing to do
    sender.close()
    assert len(synced) == after_flush


def test_a_failed_fsync_is_told_and_never_repeated_on_that_descriptor(path, monkeypatch):
    sender = FileSender(path=str(path), fsync="always")
    sender.send(line(1))
    first = sender._fd
    keep_number = os.dup(first)  # so that the new descriptor is visibly another one
    real, failed = os.fsync, []

    def fsync(fd):
        if fd == first and not failed:
            failed.append(fd)
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(SenderError) as caught:
        sender.send(line(2))
    assert caught.value.reason == "fsync"
    assert sender._fd is None
    sender.send(line(3))
    sender.close()
    os.close(keep_number)


def test_faults_name_key_value_and_remedy(tmp_path):
    good = str(tmp_path / "f")
    for options, words in [
        ({}, "sender.path: sender 'file' needs this option"),
        ({"path": ""}, "path = '': wants the path of a file"),
        ({"path": str(tmp_path)}, "this is a folder"),
        ({"path": str(tmp_path / "no" / "f")}, "there is no folder '.*no'; create it first"),
        ({"path": good, "max_bytes": -1}, "max_bytes = -1: wants 0 bytes or more"),
        ({"path": good, "keep": 0}, "keep = 0: wants a number of files, 1 or more"),
        ({"path": good, "fsync": "sometimes"}, "fsync = 'sometimes': wants never, always or a number of seconds"),
        ({"path": good, "mode": "rw"}, "mode = 'rw': wants octal digits such as 0640"),
        ({"path": good, "mode": 640 * 8}, "mode = 5120: wants permissions"),
    ]:
        with pytest.raises(ConfigError, match=words):
            plugins.build("sender", {"name": "file", **options}, "sender")
    for seconds in ("250ms", "0.25", 0.25):
        assert plugins.build("sender", {"name": "file", "path": good, "fsync": seconds}, "sender").fsync == 0.25
    assert FileSender(path=good, mode="0600").mode == FileSender(path=good, mode=0o600).mode == 0o600
