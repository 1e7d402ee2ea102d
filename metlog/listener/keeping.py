"""What a listener does again and again beside taking events: a thread that no failure ends, and that tells what fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["Keeper", "Work"]

log = logging.getLogger("metlog.listener")

_TURN: Final = 0.5
"""Seconds between two rounds."""


class Work(NamedTuple):
    """One thing to do."""

    name: str
    """What it does, as it stands behind `cannot`: `write the status`."""
    do: Callable[[], None]
    every: float = 0.0
    """Seconds between two times, at least; 0: in each round."""


class Keeper:
    """Does each work in turn. One that fails is told, keeps no other from being done, and is done again with the next round."""

    def __init__(self, *works: Work) -> None:
        self._works = works
        self._due = {work.name: time.monotonic() + work.every for work in works}
        self._faults: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metlog-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the work that is under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def health(self) -> list[str]:
        """What failed the last time that it was done."""
        return [f"cannot {name}: {fault}" for name, fault in tuple(self._faults.items())]

    def round(self) -> None:
        """Does everything that is due."""
        now = time.monotonic()
        for work in self._works:
            if now >= self._due[work.name]:
                self._due[work.name] = now + work.every
                self.attempt(work)

    def attempt(self, work: Work) -> None:
        """Does one work; raises nothing."""
        try:
            work.do()
        except OSError as error:  # a full disk, most likely
            self._note(work, str(error), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, a part of others' most likely, must not end the rest
            self._note(work, f"{type(error).__name__}: {error}", error)
        else:
            self._faults.pop(work.name, None)

    def _note(self, work: Work, fault: str, error: Exception) -> None:
        """Logs a fault that was not there the last time."""
        if self._faults.get(work.name) != fault:
            log.warning("cannot %s: %s", work.name, fault, exc_info=None if isinstance(error, OSError) else error)
        self._faults[work.name] = fault

    def _run(self) -> None:
        while not self._stop.wait(_TURN):
            self.round()
