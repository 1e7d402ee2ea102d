"""Whether text goes to a terminal, and whether it may have colours there."""

from __future__ import annotations

import io
import os
import pty
import sys

import pytest

from metlog.core.terminal import is_terminal, wants_no_colour
from metlog.core.unconfigured import wants_console
from metlog.senders.console import ConsoleSender
from metlog.senders.stream import StderrSender


class Mute:
    """A replacement that cannot say what it is."""

    def write(self, text: str) -> None:
        """Keeps nothing."""


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), Mute(), io.StringIO()])
def test_what_is_closed_or_cannot_say_is_no_terminal_for_anybody(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    found = [is_terminal(stream), wants_console(), ConsoleSender().isatty(), StderrSender().isatty()]
    monkeypatch.undo()  # before it fails: pytest writes there
    assert found == [False] * 4


def test_a_terminal_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours):
        monkeypatch.setattr(sys, "stderr", stream)
        found = [is_terminal(stream), wants_console(), ConsoleSender().isatty(), StderrSender().isatty()]
        monkeypatch.undo()
    assert found == [True] * 4


@pytest.mark.parametrize(
    ("environment", "plain"),
    [
        ({}, False),
        ({"TERM": "xterm"}, False),
        ({"NO_COLOR": ""}, False),
        ({"NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, True),
    ],
)
def test_the_environment_may_ask_for_no_colours(
    environment: dict[str, str], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_no_colour() is plain
