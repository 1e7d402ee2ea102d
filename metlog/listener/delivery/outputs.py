"""The outputs that run, each in a process of its own: started, replaced by others, and ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from metlog.journal.cursor import Position
from metlog.lake.uris import place_of
from metlog.listener.delivery.process import OutputProcess
from metlog.listener.delivery.worker import Assignment

__all__ = ["RunningOutputs"]

log = logging.getLogger("metlog.listener")


class RunningOutputs:
    """The processes of the outputs by id. One thread starts, replaces and drains; any may look or advance."""

    def __init__(self) -> None:
        self._assignments: dict[str, Assignment] = {}
        self.processes: dict[str, OutputProcess] = {}
        self.leaving: dict[str, OutputProcess] = {}
        """Outputs that are in the configuration no more and still hand on what came while they were."""
        self._threads: list[threading.Thread] = []

    def start(self, assignments: Iterable[Assignment], end: Position) -> None:
        """`end`: how far the journal may be read."""
        self._assignments = {assignment.id: assignment for assignment in assignments}
        self.processes = {name: OutputProcess(assignment) for name, assignment in self._assignments.items()}
        for process in self.processes.values():
            process.advance(end)
            process.start()

    def advance(self, end: Position) -> None:
        """The journal may be read up to `end`."""
        for process in self.processes.values():
            process.advance(end)

    def retry_notify(self) -> None:
        """Tells processes again what found no room in their pipes; to be called now and then."""
        for process in self.processes.values():
            process.retry_notify()

    @property
    def holding(self) -> list[str]:
        """Ids of the outputs that the journal keeps its segments for."""
        return [*self.processes, *(name for name in tuple(self.leaving) if name not in self.processes)]

    def changes(self, assignments: Sequence[Assignment]) -> bool:
        """Whether `replace` would change anything."""
        return {assignment.id: assignment for assignment in assignments} != self._assignments

    def in_the_way(self, assignments: Sequence[Assignment]) -> list[str]:
        """What keeps `replace` from these settings: lakes under new ids where others still write, for each of the two would write the same
        segments to the same names; and lakes that would answer with events that another one wrote."""
        now = {**{name: process.assignment for name, process in self.leaving.items()}, **self._assignments}
        places = {place: name for name, assignment in now.items() if (place := _place(assignment))}
        found = []
        for assignment in assignments:
            before = places.get(_place(assignment), assignment.id)
            if before != assignment.id:
                found.append(
                    f"outputs.{assignment.id}: the lake {before!r} still writes to {_place(assignment)}; keep that id, or restart"
                )
        return [*found, *self._written_twice(assignments)]

    def _written_twice(self, assignments: Sequence[Assignment]) -> Iterator[str]:
        """New lakes elsewhere that answer, and would begin with segments of which the lake in the data folder has written some of their
        events. One that takes its place, with no events that it did not take, begins behind it."""
        ids = {assignment.id for assignment in assignments}
        home = [one for one in self._assignments.values() if _place(one) == place_of("", Path(one.data))]
        for new in assignments:
            if not new.answers or not _place(new) or new.id in self._assignments:
                continue
            for old in home:
                succeeds = old.id not in ids and old.route.covers(new.route)
                if old.route.meets(new.route) and not succeeds:
                    yield (
                        f"outputs.{new.id}: the lake {old.id!r} has written events that this one takes, and the journal may still hold"
                        " them: queries would count them twice; restart when `metlog journal status` shows no output behind"
                    )

    def replace(self, assignments: Sequence[Assignment], end: Callable[[], Position]) -> list[str]:
        """Goes over to other settings. An output that has not changed runs on; one that has is ended, and begins at its cursor with the new
        settings; a new one begins; one that is configured no more hands on what was journaled until now, beside the others, and ends.
        `end` gives how far the journal may be read. Returns what was changed, for the log."""
        self._settle()
        wanted = {assignment.id: assignment for assignment in assignments}
        gone = {name: process for name, process in self.processes.items() if name not in wanted}
        processes: dict[str, OutputProcess] = {}
        told = [f"output {name} ends when it has handed on what came until now" for name in gone]
        begin: list[tuple[OutputProcess | None, OutputProcess]] = []
        for name, assignment in wanted.items():
            if name in self.processes and self._assignments[name] == assignment:
                processes[name] = self.processes[name]
                continue
            processes[name] = OutputProcess(assignment)
            before = self.processes.get(name) or self.leaving.pop(name, None)
            told.append(f"output {name} {'changed: it goes on where it was' if before else 'begins'}")
            begin.append((before, processes[name]))
        self._assignments = wanted
        self.leaving.update(gone)
        self.processes = processes
        now = end()
        for before, process in begin:
            process.advance(now)
            self._spawn(self._succeed, before, process)
        for name, process in gone.items():
            self._spawn(self._leave, name, process, now)
        return told

    def _spawn(self, call: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=call, args=arguments, name="metlog-outputs", daemon=True)
        if call == self._succeed:
            self._threads.append(thread)
        thread.start()

    def _succeed(self, before: OutputProcess | None, process: OutputProcess) -> None:
        """Ends an output's process and starts the one with the new settings, which goes on at the same cursor."""
        if before is not None:
            before.end()
        process.start()

    def _leave(self, name: str, process: OutputProcess, end: Position) -> None:
        if process.drain(end, float("inf")):
            log.warning("output %s has handed on all that came while it was in the configuration, and has ended", name)
        if self.leaving.get(name) is process:
            del self.leaving[name]

    def _settle(self) -> None:
        for thread in self._threads:
            thread.join()
        self._threads = []

    def drain(self, end: Position, seconds: float) -> bool:
        """Ends all processes; returns whether they had handed on everything."""
        self._settle()
        deadline = time.monotonic() + seconds
        outcomes: list[bool] = []

        def drain(process: OutputProcess) -> None:
            outcomes.append(process.drain(end, deadline))

        def leave(process: OutputProcess) -> None:
            outcomes.append(process.wait(deadline))

        threads = [threading.Thread(target=drain, args=(process,)) for process in self.processes.values()]
        threads += [threading.Thread(target=leave, args=(process,)) for process in tuple(self.leaving.values())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return all(outcomes)

    def status(self) -> dict[str, dict[str, Any]]:
        """Of each output what its process tells; `leaving` for those that are in the configuration no more."""
        found = {name: process.status() for name, process in self.processes.items()}
        for name, process in tuple(self.leaving.items()):
            found[name if name not in found else f"{name} (before)"] = {**process.status(), "leaving": True}
        return found


def _place(assignment: Assignment) -> str:
    """Where a lake writes; the empty text for every other output."""
    spec = assignment.spec
    return place_of(spec.get("uri") or "", Path(assignment.data)) if spec["name"] == "lake" else ""
