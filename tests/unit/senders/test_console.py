"""The console sender: aligned lines for people, colours on a terminal only, nothing that drives it."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

import metlog
from metlog import MetlogClient, SenderError
from metlog.senders.console import ConsoleSender


def test_messages_and_fields_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    client = MetlogClient.from_config({"logger": "shop", "sender": "console:"})
    client.log(("login", "sync"), "logged in", fields={"user": "u1", "two words": "a b"})
    client.log("disk", "full", severity=2)
    client.close()
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d\.\d{3} \[info     \] logged in {22}login sync shop  user=u1 two words="a b"', first
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \[critical \] full {27}disk shop", second)


def test_a_traceback_follows_on_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    client = MetlogClient.from_config({"sender": "console:"})
    try:
        raise ValueError("no")
    except ValueError:
        client.exception("could not")
    client.close()
    lines = capsys.readouterr().err.splitlines()
    assert "could not" in lines[0]
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    ValueError: no"


def test_no_value_drives_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    client = MetlogClient.from_config({"sender": "console:"})
    client.log("a\x1b[2J", "b\nforged line\x9b", fields={"c\x07": "d\u202e"})
    client.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", line)


@pytest.mark.process
def test_colours_are_for_terminals() -> None:
    code = "import metlog; metlog.configure('console:'); metlog.info('hello'); metlog.close()"
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    piped = subprocess.run(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, env=environment, timeout=60, check=True
    )
    assert b"\x1b" not in piped.stderr
    assert b"hello" in piped.stderr
    for more, coloured in (
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        ours, theirs = pty.openpty()
        try:
            subprocess.run(
                [sys.executable, "-c", code], stderr=theirs, env={**environment, **more}, timeout=60, check=True
            )
            assert (b"\x1b[" in os.read(ours, 4096)) is coloured
        finally:
            os.close(ours)
            os.close(theirs)


def test_a_closed_stderr_is_configured_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    client = MetlogClient.from_config({"sender": "console"})
    client.log("a")
    client.close()
    monkeypatch.undo()
    assert client.stats().dropped == {"unreachable": 1}


def test_a_replacement_needs_no_more_than_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=written.append))
    with MetlogClient.from_config("console:") as client:
        client.log("login", "logged in")
    assert "logged in" in "".join(written)
    assert client.stats().dropped == {}


def test_nobody_reads_a_pipe_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SenderError, match="nobody reads stdout any more") as caught:
        ConsoleSender(stream="stdout").send(b'{"type":"a"}')
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):
        stream.close()  # what the stream itself still holds
    assert caught.value.reason == "refused"


@pytest.mark.parametrize("options", [{"stream": "tty"}, {"color": "yes"}, {"width": -1}])
def test_a_wrong_option_is_named(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        ConsoleSender(**options)  # type: ignore[arg-type]


@pytest.mark.process
def test_integrations_are_there_after_import_metlog() -> None:
    assert metlog.integrations.wsgi.MetlogMiddleware.__name__ == "MetlogMiddleware"
    with pytest.raises(AttributeError, match="nothing"):
        metlog.integrations.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        metlog.nothing  # noqa: B018
    code = "import sys, metlog; sys.exit('metlog.integrations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
