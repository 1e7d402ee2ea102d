"""The listener as one object: journal, inputs and outputs, started and stopped in order, watched while it runs."""

from __future__ import annotations

import inspect
import logging
import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from metlog.errors import ConfigError, Problems
from metlog.event import Event
from metlog.journal.cursor import Cursor, Position
from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.idempotency import IdempotencyKeys
from metlog.journal.writer import Journal
from metlog.listener.accounting import Accounting
from metlog.listener.adapt import adapt_input
from metlog.listener.config import ListenerConfig
from metlog.listener.deadletters import DeadLetters
from metlog.listener.delivery.process import OutputProcess
from metlog.listener.delivery.worker import Assignment
from metlog.listener.descriptors import provide
from metlog.listener.drops import Drops
from metlog.listener.ingest import Ingest
from metlog.listener.inputs import BaseInput, Sink
from metlog.listener.signed import SignedSink

if TYPE_CHECKING:
    from metlog.alerts.runner import Alerts
    from metlog.lake.interface import Engine

__all__ = ["Service"]

log = logging.getLogger("metlog.listener")

_TURN: Final = 0.5
"""Seconds between two rounds of retention and status."""
_DROPS: Final = 60.0
"""Seconds between two events that tell what was dropped, if anything was."""


class Service:
    """A listener in this process (its outputs have processes of their own).

    >>> service = Service(config)            # doctest: +SKIP
    >>> service.start()                      # doctest: +SKIP
    >>> service.addresses                    # doctest: +SKIP
    ['udp://127.0.0.1:5565']
    >>> service.stop()                       # doctest: +SKIP
    """

    def __init__(self, config: ListenerConfig) -> None:
        self.config = config
        self.inputs: dict[str, BaseInput] = {}
        self._processes: dict[str, OutputProcess] = {}
        self._stopping = threading.Event()
        self._started_at = datetime.now(UTC)
        self.accounting = Accounting(config.general.streams)
        self._drops = Drops()
        self._keeper = threading.Thread(target=self._keep, name="metlog-keeper", daemon=True)
        self._stopped = False
        self._alerts: Alerts | None = None

    def start(self) -> None:
        """Opens the data folder, recovers the journal, starts outputs, then inputs. Raises OSError or ConfigError with a
        text for the operator; then nothing is left running."""
        self._check_descriptors()
        problems = Problems()
        for item in self.config.inputs:
            with problems.catch(f"inputs.{item.id}"):
                self.inputs[item.id] = adapt_input(item.component.build())
        problems.check()
        general = self.config.general
        self._data = Folder.root(general.data, create=True)
        with self._data.sub("journal", create=True) as journals:
            self._folder = journals.sub(general.journal, create=True)
        self._cursors = self._folder.sub("cursors", create=True)
        self._dead = DeadLetters(self._data.sub("dead", create=True), f"{general.journal}.input", general.dead_bytes)
        self.journal = Journal(self._folder, self.config.journal, self.config.clock, self._advance)
        try:
            self._data.tidy("status")
            self._keys = IdempotencyKeys(self._folder)
            self.sink = Ingest(self.journal, self._dead, self._keys, self.accounting)
            for assignment in self._assignments():
                self._processes[assignment.id] = OutputProcess(assignment)
            for process in self._processes.values():
                process.advance(self.journal.end)
                process.start()
            for name, started in self.inputs.items():
                started.watch(self)
                started.start(self._signed(name))
            self._alerts = self._start_alerts()
        except (OSError, ConfigError):
            self._abandon()
            raise
        self._tidy()
        self._keeper.start()

    def _check_descriptors(self) -> None:
        """Raises ConfigError where connections could take the descriptors that the journal and the outputs need."""
        connections = 0
        for item in self.config.inputs:
            known = inspect.signature(item.component.factory).parameters.get("max_connections")
            if known is not None:
                connections += int(item.component.options.get("max_connections", known.default))
        if lacking := provide(connections):
            raise ConfigError(lacking)

    def _start_alerts(self) -> Alerts | None:
        settings, general = self.config.alerts, self.config.general
        if settings is None or not settings.alerts:
            return None
        from metlog.alerts.runner import Alerts
        from metlog.engines import open_engine

        def engine() -> Engine:
            told = settings.alerting
            return open_engine(
                told.engine or "duckdb", where="alerting.engine", data=general.data, memory=told.memory, timeout=told.timeout, queries=1,
                isolated=True,
            )  # fmt: skip

        def submit(events: Sequence[Event]) -> None:
            self.sink.submit(events, "alerts://")

        alerts = Alerts(settings, f"listener-{general.journal}", data=general.data, engine=engine, submit=submit)
        alerts.start()
        return alerts

    def _signed(self, name: str) -> Sink:
        """What an input gives its frames to: behind a check of their signatures where it is told to have one."""
        signing = next(item.signing for item in self.config.inputs if item.id == name)
        return self.sink if signing is None else SignedSink(self.sink, signing)

    def _assignments(self) -> list[Assignment]:
        general = self.config.general
        return [
            Assignment(
                str(general.data.resolve()), general.journal, output.id, output.spec, output.route, output.limits,
                general.dead_bytes, -1,
            )
            for output in self.config.outputs
        ]  # fmt: skip

    def _advance(self, end: Position) -> None:
        for process in self._processes.values():
            process.advance(end)

    @property
    def addresses(self) -> list[str]:
        return [address for item in self.inputs.values() for address in item.addresses]

    @property
    def warnings(self) -> list[str]:
        return [text for item in self.inputs.values() for text in item.warnings]

    def stop(self, *, drain: bool = True) -> bool:
        """Stops the inputs, seals the journal, lets the outputs finish within `drain_timeout`. True when all is handed on;
        what is not stays in the journal for the next start."""
        if self._stopped:
            return True
        self._stopped = True
        self._stopping.set()
        self._keeper.join()
        if self._alerts is not None:
            self._alerts.stop()
        for item in self.inputs.values():
            item.stop()
        self._tell_drops()
        self.journal.close()
        outcomes = self._drain(self.config.general.drain_timeout if drain else 0.0)
        try:
            self._retain()
            self._write_status(running=False)
        except OSError as error:
            log.error("cannot leave the data folder tidy: %s", error)
        self._dead.close()
        self.journal.release()
        return all(outcomes.values())

    def _drain(self, seconds: float) -> dict[str, bool]:
        """Ends the outputs' processes; returns which of them had handed on everything."""
        deadline = time.monotonic() + seconds
        end = self.journal.end
        outcomes = dict.fromkeys(self._processes, False)

        def drain(name: str) -> None:
            outcomes[name] = self._processes[name].drain(end, deadline)

        threads = [threading.Thread(target=drain, args=(name,)) for name in self._processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    def _abandon(self) -> None:
        """Ends what a start that failed had begun."""
        self._stopped = True
        for item in self.inputs.values():
            item.stop()
        self.journal.close()
        self._drain(0.0)
        self._dead.close()
        self.journal.release()

    def _keep(self) -> None:
        told = time.monotonic()
        while not self._stopping.wait(_TURN):
            if time.monotonic() - told >= _DROPS:
                told = time.monotonic()
                self._tell_drops()
            for process in self._processes.values():
                process.retry_notify()
            self._tidy()

    def _tidy(self) -> None:
        try:
            self._retain()
            self._write_status(running=True)
        except OSError as error:  # a full disk, most likely: told by the journal too; goes on when there is room
            log.warning("cannot tidy the data folder: %s", error)

    def _tell_drops(self) -> None:
        """Journals what the kernel, or a full journal, dropped since the last time."""
        events = self._drops.events(self._sockets(), self.sink.stats()["dropped_full"])
        try:
            self.sink.submit(events, "listener://")
        except Full as error:
            log.warning("%s; and not in the lake, since %s", "; ".join(event.payload for event in events), error)

    def _sockets(self) -> dict[str, list[dict[str, Any]]]:
        return {name: item.sockets() for name, item in self.inputs.items()}

    def _retain(self) -> None:
        """Unlinks segments that every configured output is durably past."""
        reached = self._keys.save(self.journal.end.number)
        for process in self._processes:
            cursor = Cursor.load(self._cursors, process)
            if cursor is None:
                return
            reached = min(reached, cursor.at.number)
        if self.journal.retirable(reached):
            self._cursors.sync()  # what was read of them may be a renaming that is not yet on disk
            self.journal.retire(reached)

    def status(self) -> dict[str, Any]:
        """Everything that an operator may ask, for status pages and metrics."""
        return {
            "time": datetime.now(UTC),
            "started_at": self._started_at,
            "pid": os.getpid(),
            "addresses": self.addresses,
            "warnings": self.warnings,
            "health": self.health(),
            "intake": self.sink.stats(),
            "delivery": self.accounting.stats(),
            "inputs": {name: item.stats() for name, item in self.inputs.items()},
            "sockets": self._sockets(),
            "partitions": {name: found for name, item in self.inputs.items() if (found := item.partitions())},
            "outputs": {name: process.status() for name, process in self._processes.items()},
            "journal": {**self.journal.stats(), "refuses": self.journal.refuses, "end": self.journal.end},
            "recovered": msgspec.structs.asdict(self.journal.recovered),
            "dead_letters": dict(self._dead.counts),
            "dead_letters_unwritten": self._dead.unwritten,
            "alerts": [] if self._alerts is None else [state.told() for state in self._alerts.states()],
        }

    def health(self) -> list[str]:
        """What has stopped moving; empty when all is well, and once stopped, when nothing moves any more."""
        if self._stopped:
            return []
        wrong = []
        for name, item in self.inputs.items():
            if text := item.health():
                wrong.append(f"input {name}: {text}")
        if self.journal.refuses:
            wrong.append(f"journal: {self.journal.refuses}")
        for name, process in self._processes.items():
            facts = process.status()
            if facts["deaths"] >= 2:
                told = facts.get("error") or "no error told"
                wrong.append(f"output {name}: its process ended {facts['deaths']} times at the same place: {told}")
            elif (still := facts["behind_seconds"]) > self.config.general.stall_after:
                wrong.append(f"output {name}: has not moved for {still:.0f} s: {facts.get('error') or 'no error told'}")
        return wrong if self._alerts is None else [*wrong, *self._alerts.health()]

    def _write_status(self, *, running: bool) -> None:
        status = {**self.status(), "running": running}
        name = "status.json" if self.config.general.journal == "main" else f"status-{self.config.general.journal}.json"
        self._data.replace(name, msgspec.json.encode(status) + b"\n", durable=False)
