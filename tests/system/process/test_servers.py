"""Real gunicorn and real uWSGI: every request's event arrives exactly once, through forks, restarts and ends."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.diagnose.doctor import Verdict, check_threads
from tests.helpers.programs import Program, environment
from tests.helpers.receivers import Seen, assert_exactly_once, assert_streams_end, own, receiver, streams
from tests.helpers.waiting import eventually

APP = """
import json, os
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))

def application(environ, start_response):
    metlog.log("request", environ["PATH_INFO"], fields={"worker": os.getpid()})
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, what: str) -> int:
    """One request on a connection of its own; its status."""
    with contextlib.closing(_Connection(path)) as connection:
        connection.request("GET", what)
        return connection.getresponse().status


@contextlib.contextmanager
def serving(command: list[str], folder: Path, settings: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that runs `app.py` on a Unix socket, once it answers."""
    (folder / "app.py").write_text(APP)
    path = str(folder / "http.sock")
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(settings), stdout=out, stderr=out, text=True, start_new_session=True
        )
    try:
        end = time.monotonic() + 30
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, log.read_text()[-2000:]
            try:
                if ask(path, "/first") == 200:
                    break
            except OSError:
                time.sleep(0.05)
        yield process, path
        assert "Traceback" not in log.read_text(), log.read_text()[-2000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


class Traffic:
    """Requests from several threads; `asked` has each one that was answered with 200."""

    def __init__(self, path: str, threads: int = 3) -> None:
        self.asked: list[str] = []
        self.failed: list[str] = []
        self._path = path
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            what = f"/{number}/{count}"
            count += 1
            try:
                ok = ask(self._path, what) == 200
            except (OSError, http.client.HTTPException) as error:
                ok, what = False, f"{what}: {error!r}"
            (self.asked if ok else self.failed).append(what)
            time.sleep(0.002)

    def goes_on(self, count: int) -> None:
        """Waits until so many more requests were answered."""
        wanted = len(self.asked) + count
        assert eventually(lambda: len(self.asked) >= wanted or self.failed != [], 30), (
            f"{count} more requests were answered"
        )

    def stop(self) -> list[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert self.failed == []
        return ["/first", *self.asked]


def gunicorn(*options: str) -> list[str]:
    return [
        sys.executable, "-W", "ignore", "-m", "gunicorn", "app:application", "-b", "unix:http.sock", "-w", "2",
        "--graceful-timeout", "20", "--no-control-socket", *options,
    ]  # fmt: skip


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def _workers(seen: list[Seen]) -> set[int]:
    return {event.pid for event in seen if not own(event)}


@pytest.mark.parametrize(
    "options",
    [[], ["--preload"], ["--preload", "-k", "gthread", "--threads", "3"], ["-k", "gevent"], ["--max-requests", "40"]],
    ids=["plain", "preload", "preload-gthread", "gevent", "max-requests"],
)
def test_gunicorn_through_graceful_restarts_under_requests(options: list[str], tmp_path: Path) -> None:
    """Ten minutes of `flush_interval`: what does not fill a frame arrives when its worker ends, or never."""
    pytest.importorskip("gunicorn", reason="needs gunicorn: pip install gunicorn")
    with receiver("udp", tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 600}}
        with serving(gunicorn(*options), tmp_path, settings) as (process, path):
            traffic = Traffic(path)
            for _ in range(2):
                traffic.goes_on(25)
                before = _children(process.pid)
                process.send_signal(signal.SIGHUP)
                assert eventually(lambda before=before: before.isdisjoint(_children(process.pid)), 30), (
                    "the workers were replaced"
                )
            traffic.goes_on(25)
            asked = traffic.stop()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        seen = arrived.wait_for(lambda seen: len(seen) >= len(asked) + len(streams(seen)))
    assert len(asked) > 50
    assert_exactly_once(seen, asked)
    assert_streams_end(seen)
    for events in streams(seen).values():
        assert {event.fields["worker"] for event in events if not own(event)} == {events[0].pid}
    assert len(_workers(seen)) > 2, "workers were replaced"


def _uwsgi() -> str:
    found = shutil.which("uwsgi", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("needs uWSGI: pip install uwsgi")
    return found


def uwsgi(*options: str) -> list[str]:
    return [
        _uwsgi(), "--http-socket", "http.sock", "--wsgi-file", "app.py", "--virtualenv", sys.prefix, "--die-on-term",
        "--disable-logging", *options,
    ]  # fmt: skip


UWSGI = {
    "one": [],
    "master": ["--master", "--processes", "2"],
    "master-lazy": ["--master", "--processes", "2", "--lazy-apps"],
    "hooks": ["--master", "--processes", "2", "--py-call-osafterfork"],
    "threads": ["--master", "--processes", "2", "--enable-threads", "--threads", "2"],
}


@pytest.mark.parametrize(("kind", "how"), [*(("udp", how) for how in UWSGI), ("tcp", "master")])
def test_uwsgi_loses_nothing(kind: str, how: str, tmp_path: Path) -> None:
    """uWSGI forks its workers in C, past `os.register_at_fork`."""
    if how == "hooks" and sys.version_info >= (3, 13):
        pytest.skip("uWSGI 2.0.31 aborts with py-call-osafterfork on Python 3.13: it does not lock before it unlocks")
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 0.1}}
        with serving(uwsgi(*UWSGI[how]), tmp_path, settings) as (process, path):
            traffic = Traffic(path)
            traffic.goes_on(60)
            asked = traffic.stop()
            if (
                "--lazy-apps" in UWSGI[how]
            ):  # a worker of uWSGI that is told to end while it loads the application may never end
                log = tmp_path / "server.log"
                assert eventually(lambda: log.read_text().count("WSGI app 0 ") >= 2, 30), log.read_text()[-2000:]
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        seen = arrived.wait_for(lambda seen: len(seen) >= len(asked) + len(streams(seen)))
    assert len(asked) > 50
    assert_exactly_once(seen, asked)
    assert_streams_end(seen)
    for events in streams(seen).values():
        assert {event.fields["worker"] for event in events if not own(event)} == {events[0].pid}
    assert len(streams(seen)) == len(_workers(seen))


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_uwsgi_sends_while_it_serves(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 0.1}}
        with serving(uwsgi("--master"), tmp_path, settings) as (_, path):
            for number in range(20):
                assert ask(path, f"/{number}") == 200
                time.sleep(0.05)
            # 20 requests over a second, and no end of a worker that would send the rest
            arrived.application(15, seconds=5)
            payloads = [event.payload for event in arrived.seen()]
    assert payloads[:15] == ["/first", *(f"/{number}" for number in range(14))]


def test_a_job_in_a_uwsgi_worker_arrives_at_once(tmp_path: Path) -> None:
    wrapped = APP + "\napplication = metlog.job()(application)\n"
    with receiver("tcp", tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 600}}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules[__name__], "APP", wrapped)
            with serving(uwsgi("--master"), tmp_path, settings) as (_, path):
                for number in range(5):
                    assert ask(path, f"/{number}") == 200
                    assert len(arrived.application(number + 2, seconds=5)) == number + 2


def test_doctor_run_inside_uwsgi_says_whether_threads_run(tmp_path: Path) -> None:
    """`uwsgi --pyrun`: recent releases always run threads."""
    program = Path(sys.executable).with_name("metlog")
    done = subprocess.run(
        [_uwsgi(), "--pyrun", str(program), "--pyargv", "doctor", "--virtualenv", sys.prefix],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "uWSGI runs with threads" in done.stdout + done.stderr


def test_doctor_warns_when_uwsgi_says_that_threads_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("uwsgi")
    fake.masterpid, fake.has_threads = (lambda: 0), 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", fake)
    (finding,) = check_threads()
    assert finding.verdict is Verdict.WARN
    assert "without threads" in finding.what
    assert "enable-threads" in finding.remedy


NO_TURN = """
import ctypes, json, os, sys
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
hold = ctypes.PyDLL(None).usleep   # keeps the GIL while it waits, as uWSGI without threads does between requests
for number in range(40):
    metlog.log("request", str(number))
    hold(10_000)
print("logged", flush=True)
hold(60_000_000)
"""


@pytest.mark.parametrize("kind", ["udp"])
def test_where_threads_get_no_turn_the_caller_sends_what_is_too_old(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 0.1}}
        with Program(NO_TURN, tmp_path, settings) as program:
            program.line()
            payloads = [event.payload for event in arrived.application(20, seconds=5)]
    assert payloads == [str(number) for number in range(len(payloads))]
    assert len(payloads) >= 20, "all but what is younger than about two intervals"
