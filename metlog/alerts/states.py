"""States of alerts: how one follows from another, and the file that keeps them.

A notice is in the file, durably, before it is sent, and out of it after it was taken: a process that is killed loses none, and sends one
again, under the same id, only when it was killed between the two.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from metlog.alerts.config import Prepared
from metlog.alerts.readings import Reading
from metlog.alerts.targets import Notice
from metlog.journal.folder import Folder

__all__ = ["Kept", "Letter", "State", "Store", "advance", "kept_in"]

log = logging.getLogger("metlog.alerts")

FOLDER: Final = "alerts"
"""In the data folder."""
_RECOVERED: Final = 5
"""Severity of a recovery: notice."""
_RUNNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,80}")


class Letter(Struct, kw_only=True):
    """A notice on its way to one target."""

    notice: Notice
    target: str
    tries: int = 0
    next_at: float = 0.0
    """Seconds since the epoch."""
    error: str = ""


class State(Struct, kw_only=True):
    """One alert's; times in seconds since the epoch."""

    name: str
    state: Literal["new", "ok", "pending", "firing", "no_data", "error"] = "new"
    """`pending`: the condition holds, not yet for long enough. `no_data` says nothing of whether it was told: `alarm` does."""
    since: float = 0.0
    """Since when it is in this state."""
    bad_since: float | None = None
    """Since when there is a reason to fire."""
    alarm: bool = False
    """Whether it fired and has not recovered since."""
    alarm_since: float = 0.0
    told_at: float = 0.0
    """When it was last told that it fires."""
    value: float | None = None
    row: dict[str, Any] = {}  # msgspec copies it
    evaluated_at: float = 0.0
    error: str = ""
    """What went wrong in the last evaluation."""
    notices: int = 0
    outbox: list[Letter] = []  # msgspec copies it
    about: str = ""
    every: float = 60.0

    def told(self) -> dict[str, Any]:
        """What status pages and metrics say of it."""
        waiting = [letter for letter in self.outbox if letter.error]
        return {
            "name": self.name, "state": self.state, "since": self.since, "alarm": self.alarm, "value": self.value,
            "evaluated_at": self.evaluated_at, "error": self.error or (waiting[0].error if waiting else ""), "untold": len(self.outbox),
        }  # fmt: skip


def advance(state: State, prepared: Prepared, reading: Reading, now: float) -> Notice | None:
    """Moves a state on by one reading; returns what is to be told, if anything is."""
    alert = prepared.alert
    state.evaluated_at, state.error = now, reading.error
    if reading.outcome == "failed":
        _enter(state, "error", now)
        return None
    state.value, state.row = reading.value, reading.row
    # A clock that was set back must not make a time last longer.
    state.told_at = min(state.told_at, now)
    if reading.outcome == "missing" and alert.no_data == "keep":
        _enter(state, "no_data", now)
        return None
    if reading.outcome == "met" or (reading.outcome == "missing" and alert.no_data == "alert"):
        state.bad_since = now if state.bad_since is None else min(state.bad_since, now)
        if not state.alarm and now - state.bad_since < alert.for_:
            _enter(state, "no_data" if reading.outcome == "missing" else "pending", now)
            return None
        _enter(state, "no_data" if reading.outcome == "missing" else "firing", now)
        if state.alarm:
            if alert.repeat and now - state.told_at >= alert.repeat:
                state.told_at = now
                return _notice(state, prepared, "repeat", now, state.bad_since)
            return None
        state.alarm, state.alarm_since, state.told_at = True, now, now
        return _notice(state, prepared, "firing", now, state.bad_since)
    _enter(state, "no_data" if reading.outcome == "missing" else "ok", now)
    began, state.bad_since = state.bad_since, None
    if not state.alarm:
        return None
    state.alarm = False
    return _notice(state, prepared, "recovered", now, began or state.alarm_since) if alert.recovery else None


def _enter(state: State, name: Literal["ok", "pending", "firing", "no_data", "error"], now: float) -> None:
    if state.state != name or state.since > now:
        state.state, state.since = name, now


def _notice(state: State, prepared: Prepared, kind: str, now: float, since: float) -> Notice:
    state.notices += 1
    return notice_of(state, prepared, kind, now, since)


def notice_of(state: State, prepared: Prepared, kind: str, now: float, since: float, *, test: bool = False) -> Notice:
    """What is told of a state."""
    alert = prepared.alert
    found = "no data" if state.value is None else f"{prepared.condition.column} is {state.value:,.6g}"
    words = {"firing": "fires", "repeat": "still fires", "recovered": "has recovered"}[kind]
    text = f"{f'{alert.text}: ' if alert.text else ''}alert {alert.name} {words}: {found} (condition: {alert.when})"
    return Notice(
        id=f"{alert.name}-{int(state.alarm_since * 1000)}-{state.notices}", alert=alert.name, kind=kind, state=state.state, text=text,
        severity=_RECOVERED if kind == "recovered" else alert.severity, when=alert.when, value=state.value, row=state.row,
        at=_rfc3339(now), since=_rfc3339(since), test=test,
    )  # fmt: skip


def _rfc3339(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


class Kept(Struct):
    """A file of states."""

    runner: str
    """Who evaluates: `listener-main`, `page`."""
    written_at: float
    alerts: list[State]


class Store:
    """The file of one runner, and the lock that says there is one runner alone."""

    def __init__(self, folder: Path, runner: str) -> None:
        """Raises OSError when the folder cannot be made or written."""
        if not _RUNNER.fullmatch(runner):
            raise ValueError(f"runner = {runner!r}: wants letters, digits, _ and -")
        self._folder = Folder.root(folder, create=True)
        self._runner, self._name = runner, f"{runner}.json"
        self._lock = self._folder.open(f"{runner}.lock", os.O_RDWR | os.O_CREAT)
        self._last = b""

    def locked(self) -> bool:
        """Whether this process is the one that evaluates; to be asked again when it is not."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._folder.tidy(self._runner)
        return True

    def load(self) -> dict[str, State]:
        """The states as they were kept, by the alert's name; none of a file that is not there, or is damaged, which is told."""
        if not self._folder.exists(self._name):
            return {}
        try:
            kept = msgspec.json.decode(self._folder.read(self._name), type=Kept)
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("alerts: %s cannot be read: %s; every alert begins anew", self._folder.path / self._name, error)
            return {}
        return {state.name: state for state in kept.alerts}

    def save(self, states: Iterable[State], now: float) -> None:
        """Keeps them durably. Raises OSError."""
        alerts = list(states)
        content = msgspec.json.encode(alerts)
        if content == self._last:
            return
        self._folder.replace(
            self._name, msgspec.json.encode(Kept(self._runner, now, alerts)) + b"\n", point="alerts.save"
        )
        self._last = content

    def close(self) -> None:
        """Lets another process evaluate."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._folder.close()


def kept_in(folder: Path) -> list[Kept]:
    """The states of every runner that keeps them in this folder; none where there is no such folder. A damaged file is left out."""
    found: list[Kept] = []
    try:
        root = Folder.root(folder)
    except OSError:
        return found
    with root:
        for entry in sorted(root.regular(".json"), key=lambda entry: entry.name):
            try:
                found.append(msgspec.json.decode(root.read(entry.name), type=Kept))
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("alerts: %s cannot be read: %s", folder / entry.name, error)
    return found
