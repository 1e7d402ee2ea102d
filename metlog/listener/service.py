"""The listener as one object: journal, inputs and outputs, started and stopped in order, watched while it runs."""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from metlog.errors import ConfigError, Problems
from metlog.event import Event
from metlog.journal.cursor import Cursor
from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.idempotency import IdempotencyKeys
from metlog.journal.writer import Journal
from metlog.listener.accounting import Accounting
from metlog.listener.alerting import AlertKeeper
from metlog.listener.config import ListenerConfig
from metlog.listener.deadletters import DeadLetters
from metlog.listener.delivery.outputs import RunningOutputs
from metlog.listener.delivery.worker import Assignment
from metlog.listener.descriptors import provide
from metlog.listener.drops import Drops
from metlog.listener.ingest import Ingest
from metlog.listener.inputs import BaseInput, Handed
from metlog.listener.keeping import Keeper, Work
from metlog.listener.running import RunningInputs
from metlog.listener.upkeep.keeper import UpkeepKeeper

__all__ = ["Service"]

log = logging.getLogger("metlog.listener")

_DROPS: Final = 60.0
"""Seconds between two events that tell what was dropped, if anything was."""


class Reloads:
    """What became of changes of the settings while the listener runs."""

    def __init__(self) -> None:
        self._done = self._refused = 0
        self._at: datetime | None = None
        self._error = ""

    def note(self, error: str = "") -> None:
        """Counts one; `error` says why it changed nothing."""
        self._at, self._error = datetime.now(UTC), error
        if error:
            self._refused += 1
        else:
            self._done += 1

    def status(self) -> dict[str, Any]:
        return {"done": self._done, "refused": self._refused, "at": self._at, "error": self._error}


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
        self._inputs = RunningInputs(self)
        self._outputs = RunningOutputs()
        self._started_at = datetime.now(UTC)
        self.accounting = Accounting(config.general.streams)
        self._drops = Drops()
        self._stopped = True
        self._changing = threading.RLock()
        """Held while it starts, stops, goes over to other settings, or hands over to another process."""
        self.reloads = Reloads()

    @property
    def inputs(self) -> dict[str, BaseInput]:
        """The inputs by their ids."""
        return self._inputs.items

    @property
    def folder(self) -> Path:
        """The journal's folder."""
        return self.config.general.data / "journal" / self.config.general.journal

    def start(self, handed: Handed | None = None, release: Callable[[], None] = lambda: None) -> None:
        """Opens the data folder, recovers the journal, starts outputs, then inputs. Raises OSError or ConfigError with a
        text for the operator; then nothing is left running.

        With `handed`, sockets of a listener that is to be relieved, the inputs bind what they listen on first; then `release` returns
        when that listener has closed the journal.
        """
        self._check_descriptors(self.config)
        try:
            self._inputs.build(self.config.inputs, handed)
            release()
        except (OSError, ConfigError):
            self._inputs.stop(self._inputs.items)
            raise
        with self._changing:
            self._begin()

    def _begin(self) -> None:
        general = self.config.general
        self._data = Folder.root(general.data, create=True)
        with self._data.sub("journal", create=True) as journals:
            self._folder = journals.sub(general.journal, create=True)
        self._cursors = self._folder.sub("cursors", create=True)
        self._dead = DeadLetters(self._data.sub("dead", create=True), f"{general.journal}.input", general.dead_bytes)
        self.journal = Journal(self._folder, self.config.journal, self.config.clock, self._outputs.advance)
        self._upkeep = UpkeepKeeper(self._data, self.config.lake, self._of_journal("upkeep-state"))
        self._alerts = self._alert_keeper(self.config)
        self._keeper = Keeper(
            Work("journal what was dropped", self._tell_drops, _DROPS),
            Work("tell the outputs how far the journal reaches", self._outputs.retry_notify),
            self._retention,
            Work("write the status", lambda: self._write_status(running=True)),
        )
        self._stopped = False
        try:
            self._data.tidy("status")
            self._keys = IdempotencyKeys(self._folder)
            self.sink = Ingest(self.journal, self._dead, self._keys, self.accounting)
            self._drops.begin_anew()
            self._outputs.start(self._assignments(self.config), self.journal.end)
            self._inputs.start(self.sink)
            self._upkeep.start()
            self._alerts.start()
        except Exception:
            self._abandon()
            raise
        self._keeper.round()
        self._keeper.start()

    def _alert_keeper(self, config: ListenerConfig) -> AlertKeeper:
        def submit(events: Sequence[Event]) -> None:
            self.sink.submit(events, "alerts://")

        return AlertKeeper(config.alerts, config.general.data, config.general.journal, submit)

    def reload(self, config: ListenerConfig) -> list[str]:
        """Goes over to other settings while it runs: see `RunningInputs.replace` and `RunningOutputs.replace`. Returns what was changed,
        for the log. Raises ConfigError or OSError; then everything is as it was."""
        with self._changing:
            if self._stopped:
                raise ConfigError("the listener is stopping")
            old, new = self.config.general, config.general
            problems = Problems()
            for key in ("data", "journal"):
                if getattr(old, key) != getattr(new, key):
                    problems.add(
                        f"listener.{key} = {str(getattr(new, key))!r}: wants a restart; it runs with {str(getattr(old, key))!r}"
                    )
            assignments = self._assignments(config)
            for text in self._outputs.in_the_way(assignments):
                problems.add(text)
            problems.check()
            self._check_descriptors(config)
            # What may fail comes first: afterwards nothing does, so that all of it has changed or nothing has.
            alerts = self._changed_alerts(config)
            try:
                told = self._inputs.replace(config.inputs)
            except Exception:
                if alerts is not None:
                    alerts.stop()
                raise
            self.journal.configure(config.journal, config.clock)
            self._dead.configure(new.dead_bytes)
            self.accounting.configure(new.streams)
            if self._outputs.changes(assignments):
                self.journal.rotate()  # an output that leaves gets what was journaled until now
                told += self._outputs.replace(assignments, lambda: self.journal.end)
                told += config.lakes.told
            if config.lake != self._upkeep.settings:
                self._upkeep.stop()
                self._upkeep = UpkeepKeeper(self._data, config.lake, self._of_journal("upkeep-state"))
                self._upkeep.start()
                told.append("upkeep changed")
            if alerts is not None:
                self._alerts.stop()
                self._alerts = alerts
                alerts.start()
                told.append("alerts changed")
            self.config = config
            return told

    def _changed_alerts(self, config: ListenerConfig) -> AlertKeeper | None:
        """Returns the alerts of other settings, ready to begin; None where they are as they were. Raises OSError, ConfigError."""
        before = self.config.alerts
        if (before and before.said) == (config.alerts and config.alerts.said):
            return None
        alerts = self._alert_keeper(config)
        alerts.prepare()
        return alerts

    def offer(self) -> Handed:
        """Returns duplicates of the sockets of its inputs, for a process that takes over."""
        return self._inputs.handed()

    def give_up(self, heirs: Collection[str]) -> None:
        """Ends the inputs, closes the journal and lets another process write it. `heirs`: ids of the inputs whose sockets that process
        goes on with. Afterwards `end_outputs` is to be called, and then `resume` or nothing."""
        with self._changing:
            self._cease()
            self._inputs.stop(heirs)
            self._finish_journal()
            self.journal.release()

    def end_outputs(self) -> None:
        """Ends the outputs' processes, whose cursors those of the other process wait for."""
        with self._changing:
            self._outputs.drain(self.journal.end, 0.0)
            self._dead.close()

    def resume(self, handed: Handed) -> None:
        """Takes events again after `give_up`, on the sockets that it had."""
        with self._changing:
            self._inputs.build(self.config.inputs, handed)
            self._begin()

    def _check_descriptors(self, config: ListenerConfig) -> None:
        """Raises ConfigError where connections could take the descriptors that the journal and the outputs need."""
        connections = 0
        for item in config.inputs:
            known = inspect.signature(item.component.factory).parameters.get("max_connections")
            if known is not None:
                connections += int(item.component.options.get("max_connections", known.default))
        if lacking := provide(connections):
            raise ConfigError(lacking)

    def _of_journal(self, name: str) -> str:
        """Returns the name of a file in the data folder; listeners that share the folder have one each."""
        journal = self.config.general.journal
        return f"{name}.json" if journal == "main" else f"{name}-{journal}.json"

    def _assignments(self, config: ListenerConfig) -> list[Assignment]:
        general = config.general
        lakes = config.lakes
        return [
            Assignment(
                str(general.data.resolve()), general.journal, output.id, output.spec, output.route, output.limits,
                general.dead_bytes, -1, answers=output.id in lakes.answer or output.component.name != "lake",
                answers_at=lakes.uri if output.id in lakes.answer else "",
                lakes=tuple(sorted(lakes.answer)) if output.id in lakes.answer else (),
            )
            for output in config.outputs
        ]  # fmt: skip

    @property
    def addresses(self) -> list[str]:
        return self._inputs.addresses()

    @property
    def warnings(self) -> list[str]:
        return self._inputs.warnings()

    def stop(self, *, drain: bool = True) -> bool:
        """Stops the inputs, seals the journal, lets the outputs finish within `drain_timeout`. True when all is handed on;
        what is not stays in the journal for the next start."""
        with self._changing:
            if self._stopped:
                return True
            self._cease()
            self._inputs.stop()
            self._tell_drops()
            self.journal.close()
            drained = self._outputs.drain(self.journal.end, self.config.general.drain_timeout if drain else 0.0)
            self._keeper.attempt(self._retention)
            self._keeper.attempt(Work("write the status", lambda: self._write_status(running=False)))
            self._dead.close()
            self.journal.release()
            return drained

    def _cease(self) -> None:
        """Ends what runs beside inputs, journal and outputs."""
        self._stopped = True
        self._keeper.stop()
        self._alerts.stop()
        self._upkeep.stop()

    def _finish_journal(self) -> None:
        self._tell_drops()
        self._keeper.attempt(self._retention)
        self.journal.close()

    def _abandon(self) -> None:
        """Ends what a start that failed had begun."""
        self._stopped = True
        self._alerts.stop()
        self._upkeep.stop()
        self._inputs.stop()
        self.journal.close()
        self._outputs.drain(self.journal.end, 0.0)
        self._dead.close()
        self.journal.release()

    @property
    def _retention(self) -> Work:
        return Work("retire segments of the journal", self._retain)

    def _tell_drops(self) -> None:
        """Journals what the kernel, or a full journal, dropped since the last time."""
        events = self._drops.events(self._inputs.sockets(), self.sink.stats()["dropped_full"])
        try:
            self.sink.submit(events, "listener://")
        except Full as error:  # told again the next time, with what comes until then
            log.warning("%s; and not yet in the lake, since %s", "; ".join(event.payload for event in events), error)
        else:
            self._drops.settle()

    def _retain(self) -> None:
        """Unlinks segments that every output is durably past: of those configured, and of those that hand on their last."""
        reached = self._keys.save(self.journal.end.number)
        for process in self._outputs.holding:
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
            "inputs": self._inputs.stats(),
            "sockets": self._inputs.sockets(),
            "partitions": self._inputs.partitions(),
            "outputs": self._outputs.status(),
            "upkeep": self._upkeep.status(),
            "reloads": self.reloads.status(),
            "alerts": self._alerts.status(),
            "journal": {**self.journal.stats(), "refuses": self.journal.refuses, "end": self.journal.end},
            "recovered": msgspec.structs.asdict(self.journal.recovered),
            "dead_letters": dict(self._dead.counts),
            "dead_letters_unwritten": self._dead.unwritten,
        }

    def health(self) -> list[str]:
        """What does not work; empty when all is well, and when the listener has been stopped."""
        if self._stopped:
            return []
        wrong = self._inputs.health()
        if self.journal.refuses:
            wrong.append(f"journal: {self.journal.refuses}")
        for name, facts in self._outputs.status().items():
            told = facts.get("error") or "no error told"
            if facts["failed_starts"] >= 2:
                wrong.append(
                    f"output {name}: its process ended {facts['failed_starts']} times before it had begun: {told}"
                )
            elif facts["deaths"] >= 2:
                wrong.append(f"output {name}: its process ended {facts['deaths']} times at the same place: {told}")
            elif (still := facts["behind_seconds"]) > self.config.general.stall_after:
                wrong.append(f"output {name}: has not moved for {still:.0f} s: {told}")
        return [*wrong, *self._upkeep.health(), *self._alerts.health(), *self._keeper.health()]

    def _write_status(self, *, running: bool) -> None:
        status = {**self.status(), "running": running}
        self._data.replace(self._of_journal("status"), msgspec.json.encode(status) + b"\n", durable=False)
