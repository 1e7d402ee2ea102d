"""Senders, an encoder and a filter that misbehave on purpose, found by name as anyone's would be.

The folder is on the path of the tests (`pythonpath` in pyproject.toml) and of the programs that they start (tests/helpers/programs.py).
"""

from __future__ import annotations

import time
from typing import Any

import metlog
from metlog.encoders.json import JsonEncoder
from metlog.errors import SenderError


class Control:
    """What the senders below do next, and what they took; one for the process."""

    def __init__(self) -> None:
        self.failing = False
        self.delay = 0.0
        self.taken: list[bytes] = []


control = Control()


class Commanded:
    """Keeps frames in `control.taken`, or fails, as `control` says; never waits."""

    nonblocking = True
    max_event = 4000

    def __init__(self, *, max_frame: int = 2000) -> None:
        self.max_frame = max_frame

    def send(self, frame: bytes) -> None:
        if control.failing:
            raise SenderError("told to fail", reason="told")
        control.taken.append(frame)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class CommandedQueued(Commanded):
    """The same behind a queue; slow when `control.delay` says so."""

    nonblocking = False

    def send(self, frame: bytes) -> None:
        if control.delay:
            time.sleep(control.delay)
        super().send(frame)


class Stuck:
    """Never comes back from `send`, whatever `close` does."""

    max_frame = 8192

    def send(self, frame: bytes) -> None:
        while True:
            time.sleep(60)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Talking:
    """Logs an event in each `send`, `flush` and `close`, and keeps the frames."""

    nonblocking = True
    max_frame = 8192

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        metlog.log("from_sender", "a frame goes out")
        metlog.stats()
        self.frames.append(frame)

    def flush(self) -> None:
        metlog.log("from_flush", "flushed")

    def close(self) -> None:
        metlog.log("from_close", "closed")


class TalkingQueued(Talking):
    """The same behind a queue."""

    nonblocking = False


class TalkingEncoder(JsonEncoder):
    """Logs an event for each one that it encodes."""

    def encode(self, event: Any) -> bytes:
        metlog.log("from_encoder", "an event is encoded")
        return super().encode(event)

    def frame(self, events: Any) -> bytes:
        metlog.log("from_frame", "a frame is made")
        return super().frame(events)


def talking_filter() -> Any:
    def keep(event: Any) -> Any:
        metlog.log("from_filter", "an event is looked at")
        return event

    return keep
