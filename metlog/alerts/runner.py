"""Runs alerts beside a listener or a page: one thread asks, one for each target tells, so that a target that hangs holds no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from metlog.alerts.config import AlertSettings, Prepared
from metlog.alerts.readings import Reading, read
from metlog.alerts.states import FOLDER, Letter, State, Store, advance
from metlog.alerts.targets import BaseTarget, Notice, Submit
from metlog.core.backoff import Backoff
from metlog.errors import ConfigError
from metlog.journal import failpoints
from metlog.lake.cancel import Cancel
from metlog.lake.interface import Engine
from metlog.reports import Library

__all__ = ["Alerts", "state_folder"]

log = logging.getLogger("metlog.alerts")

_TURN: Final = 1.0
"""Seconds between two looks at whether another process has let go of the states."""
_FIRST: Final = 1.0
_LONGEST: Final = 300.0
"""Seconds between two tries to tell a notice: the first pause, and the longest."""
_GIVE_UP: Final = 86_400.0
"""Seconds after which a notice that nobody takes is given up, which is told."""
_FEWEST: Final = 20
"""Times that it is tried all the same: a clock that was wrong when it was made says nothing of its age. It takes an hour."""
_ENDING: Final = 3.0
"""Seconds that a query or a target gets to come out of a call at the end; what it told then comes again under its id."""
_ERROR: Final = 500
"""Characters of an error that are kept."""
_HANGS: Final = 60.0
"""Seconds in one call after which a target is told as one that hangs."""

_Address = tuple[str, str]
"""An alert's name, and the name of one of its targets."""


def state_folder(settings: AlertSettings, data: Path | None) -> Path:
    """Where the states are. Raises ConfigError where nothing says it."""
    if settings.alerting.state:
        return Path(settings.alerting.state)
    if data is None:
        raise ConfigError(
            "alerting.state: needed here, where there is no data folder: a folder for the states of alerts"
        )
    return data / FOLDER


class Alerts:
    """The alerts of one process. `prepare`, `start` and `stop` by its owner; `health` and `states` from any thread.

    engine: makes the engine that is asked, when the first alert is due; closed at the end unless it is `shared`. data: where reports
    may be. submit: takes events where a listener runs here.
    """

    def __init__(
        self, settings: AlertSettings, runner: str, *, data: Path | None, engine: Callable[[], Engine],
        submit: Submit | None = None, shared: bool = False,
    ) -> None:  # fmt: skip
        self._settings, self._runner, self._data = settings, runner, data
        self._make_engine = engine
        self._submit, self._shared = submit, shared
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._states: dict[str, State] = {}
        self._stopping = False
        self._cancel = Cancel()
        self._problem = ""
        self._waits = False
        self._store: Store | None = None
        self._targets: dict[_Address, BaseTarget] = {}
        self._asking: threading.Thread | None = None
        self._telling: dict[_Address, threading.Thread] = {}
        self._calls: dict[_Address, float] = {}  # since when a target is in a call, on the monotonic clock

    def prepare(self) -> None:
        """Makes the targets, and opens the file of the states. Raises OSError when these cannot be kept, ConfigError."""
        for prepared in self._settings.alerts:
            for key, component in _keyed(prepared):
                target = component.build()
                try:
                    target.bind(self._submit)
                except ValueError as error:
                    raise ConfigError(f"alert {prepared.name}: {component.name}: {error}") from error
                self._targets[prepared.name, key] = target
        if self._settings.alerts:
            self._store = Store(state_folder(self._settings, self._data), self._runner)

    def start(self) -> None:
        """Begins. Without `prepare` it raises what that does."""
        if not self._settings.alerts:
            return
        if self._store is None:
            self.prepare()
        self._asking = threading.Thread(target=self._evaluate, name="metlog-alerts", daemon=True)
        self._asking.start()

    def stop(self) -> None:
        """Ends what runs; notices that are not told yet are told after the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._cancel.cancel()
        deadline = time.monotonic() + _ENDING
        for thread in self._threads():
            thread.join(max(deadline - time.monotonic(), 0.0))
        for (name, _), target in self._targets.items():
            try:
                target.close()
            except Exception:
                log.exception("alert %s: a target cannot be closed", name)
        if self._store is not None:
            self._store.close()

    def states(self) -> list[State]:
        """The states, in the order of the configuration."""
        with self._lock:
            return [self._states[item.name] for item in self._settings.alerts if item.name in self._states]

    def health(self) -> list[str]:
        """What does not work: queries that fail, notices that nobody takes, states that cannot be kept, a thread that died."""
        wrong = [self._problem] if self._problem else []
        if not self._stopping:
            wrong += [f"alerts: the thread {item.name} has died" for item in self._threads() if not item.is_alive()]
        if self._waits:
            wrong.append("alerts: another process evaluates them; this one waits for it to end")
        for state in self.states():
            if state.state == "error":
                wrong.append(f"alert {state.name}: {state.error}")
            failing = next((letter for letter in state.outbox if letter.error), None)
            if failing is not None:
                wrong.append(f"alert {state.name}: not told, tried {failing.tries} times: {failing.error}")
        with self._lock:
            calls = list(self._calls.items())
        for (name, target), since in calls:
            if (seconds := time.monotonic() - since) >= _HANGS:
                wrong.append(f"alert {name}: target {target} has not returned for {seconds:.0f} s")
        return wrong

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return [*([self._asking] if self._asking is not None else []), *self._telling.values()]

    # The thread that asks.

    def _evaluate(self) -> None:
        assert self._store is not None
        while not self._store.locked():
            self._waits = True
            if self._pause(_TURN):
                return
        self._waits = False
        kept = self._store.load()
        with self._changed:
            for item in self._settings.alerts:
                self._states[item.name] = kept.get(item.name) or State(name=item.name)
                self._states[item.name].about, self._states[item.name].every = item.about, item.alert.every
            self._attend()
        engine: Engine | None = None
        now = time.time()
        due = {
            item.name: min(now, self._states[item.name].evaluated_at) + item.alert.every
            for item in self._settings.alerts
        }
        try:
            while True:
                chosen = min(self._settings.alerts, key=lambda item: due[item.name])
                if self._pause(
                    min(due[chosen.name] - time.time(), chosen.alert.every)
                ):  # a clock set back makes no long wait
                    return
                now = time.time()
                if now < due[chosen.name] <= now + chosen.alert.every:
                    continue
                # The time that it was due at, so that windows adjoin, however long a query takes; after a whole turn it begins anew.
                at = due[chosen.name] if now - chosen.alert.every < due[chosen.name] <= now else now
                try:
                    if engine is None:
                        engine = self._make_engine()
                    reading = self._read(chosen, engine, at)
                except Exception as error:  # noqa: BLE001 - an engine, or a report of others: told, and tried again
                    reading = Reading("failed", error=f"{type(error).__name__}: {error}"[:_ERROR])
                if self._stopping:  # a query that was cancelled says nothing
                    return
                self._take(chosen, reading, at)
                due[chosen.name] = at + chosen.alert.every
        finally:
            if engine is not None and not self._shared:
                engine.close()

    def _read(self, chosen: Prepared, engine: Engine, at: float) -> Reading:
        library = Library(self._data if self._data is not None and self._data.is_dir() else None)
        return read(
            chosen, engine, library, self._settings.alerting.timeout, self._cancel, datetime.fromtimestamp(at, UTC)
        )

    def _take(self, chosen: Prepared, reading: Reading, at: float) -> None:
        with self._changed:
            state = self._states[chosen.name]
            before = state.state
            notice = advance(state, chosen, reading, at)
            if notice is not None:
                state.outbox = [*state.outbox, *(Letter(notice=notice, target=key) for key, _ in _keyed(chosen))]
            if state.state != before and state.state == "error":
                log.warning("alert %s: %s", chosen.name, state.error)
            self._save()
            self._attend()

    def _save(self) -> None:
        """With the lock held."""
        assert self._store is not None
        try:
            self._store.save(self._states.values(), time.time())
        except OSError as error:
            self._problem = f"alerts: their states cannot be kept, and no notice is sent: {error.strerror or error}"
        else:
            self._problem = ""

    # The threads that tell.

    def _attend(self) -> None:
        """Starts the threads of targets that are told something for the first time, and wakes the others. With the lock held."""
        for state in self._states.values():
            for letter in state.outbox:
                address = (state.name, letter.target)
                if address not in self._telling and not self._stopping:
                    name = f"metlog-notices {state.name} {letter.target}"
                    thread = threading.Thread(target=self._tell, args=address, name=name, daemon=True)
                    self._telling[address] = thread
                    thread.start()
        self._changed.notify_all()

    def _tell(self, alert: str, target: str) -> None:
        while True:
            with self._changed:
                letter, wait = self._next(alert, target, time.time())
                while letter is None and not self._stopping:
                    self._changed.wait(wait)
                    letter, wait = self._next(alert, target, time.time())
                if self._stopping or letter is None:
                    return
                self._calls[alert, target] = time.monotonic()
            error = self._send(letter)
            with self._changed:
                del self._calls[alert, target]
                self._sent(letter, error, time.time())

    def _next(self, alert: str, target: str, now: float) -> tuple[Letter | None, float | None]:
        """The first letter to a target if it is due (a recovery is not told before what it is the end of), or the seconds until it is;
        None, None: there is none. A letter that could not be kept waits."""
        letter = next((letter for letter in self._states[alert].outbox if letter.target == target), None)
        if letter is None:
            return None, None
        if self._problem:
            self._save()  # there may be room by now
            return None, _TURN
        letter.next_at = min(letter.next_at, now + _LONGEST)  # noted while the clock was wrong, it may lie years ahead
        return (letter, None) if letter.next_at <= now else (None, letter.next_at - now)

    def _send(self, letter: Letter) -> str:
        target = self._targets.get((letter.notice.alert, letter.target))
        if target is None:  # it is no longer in the configuration
            log.warning("alert %s: %s is not told: it is no target any more", letter.notice.alert, letter.target)
            return ""
        failpoints.point("alerts.send")
        try:
            target.send(letter.notice)
        except Exception as error:  # noqa: BLE001 - whatever a target raises means "not told": kept, and tried again
            return (str(error) or type(error).__name__)[:_ERROR]
        failpoints.point("alerts.sent")
        return ""

    def _sent(self, letter: Letter, error: str, now: float) -> None:
        state = self._states[letter.notice.alert]
        age = now - datetime.fromisoformat(letter.notice.at).timestamp()
        if error and (age < _GIVE_UP or letter.tries < _FEWEST):
            letter.tries += 1
            letter.error = error
            backoff = Backoff(min(_FIRST * 2 ** min(letter.tries - 1, 20), _LONGEST), _LONGEST)
            letter.next_at = now + backoff.pause()
        else:
            if error:
                log.error("alert %s: given up after %.0f s: %s: %s", state.name, age, error, letter.notice.text)
            state.outbox = [other for other in state.outbox if other is not letter]
        self._save()

    def _pause(self, seconds: float) -> bool:
        """Waits; True when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, max(seconds, 0.0))
            return self._stopping


def _keyed(prepared: Prepared) -> Iterable[tuple[str, Any]]:
    """The targets with names that stay while the configuration does."""
    return [(f"{index}:{component.name}", component) for index, component in enumerate(prepared.targets)]


def tell_once(prepared: Prepared, notice: Notice, submit: Submit | None = None) -> list[tuple[str, str]]:
    """Tells every target of an alert a notice, once; returns what each is and what went wrong, if anything."""
    told: list[tuple[str, str]] = []
    for _, component in _keyed(prepared):
        target: BaseTarget = component.build()
        try:
            target.bind(submit)
            target.send(notice)
        except Exception as error:  # noqa: BLE001 - told to who asked
            told.append((target.describe() or component.name, str(error) or type(error).__name__))
        else:
            told.append((target.describe() or component.name, ""))
        finally:
            target.close()
    return told
