"""What the listeners of a data folder do, in sentences: from what they last said of themselves, and from the folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from metlog.journal.folder import Folder
from metlog.journal.inspect import STATUS_AHEAD, status_file, told_by
from metlog.lake.shown import plural, size

__all__ = ["Sentence", "ago", "listeners", "sentences"]

_STALE: Final = 15.0
"""Seconds after which a listener that has not written its status counts as gone; it writes twice a second."""
_BEHIND: Final = 10.0
"""Seconds that an output may be behind and still keep up."""


@dataclass(frozen=True)
class Sentence:
    """One sentence; `bad` when somebody should do something."""

    text: str
    bad: bool = False


def listeners(data: Path, now: float | None = None) -> list[dict[str, Any]]:
    """What the listeners of this data folder last said of themselves, with `age` in seconds and `state`:
    `running`, `stopped` or `gone` (it has not said anything for a while)."""
    found: list[dict[str, Any]] = []
    with Folder.root(data) as root:
        for file in sorted(map(status_file, told_by(root))):
            try:
                status = msgspec.json.decode(root.read(file))
                age = (now or time.time()) - datetime.fromisoformat(status["time"]).timestamp()
                age = max(0.0, age) if age > -STATUS_AHEAD else -age
            except (OSError, ValueError, KeyError, TypeError) as error:
                found.append({"name": file, "state": "unreadable", "problem": str(error)})
                continue
            running = bool(status.get("running", True))
            state = "stopped" if not running else "gone" if age > _STALE else "running"
            found.append({**status, "name": file, "age": age, "state": state})
    return found


def sentences(status: Mapping[str, Any], now: datetime | None = None) -> list[Sentence]:
    """What one listener does; `status` as `listeners` gives it."""
    return [*_begin(status, now or datetime.now(UTC)), *_taken(status), *_outputs(status)]


def _begin(status: Mapping[str, Any], now: datetime) -> Iterator[Sentence]:
    where = " and ".join(status.get("addresses", ())) or "no address"
    if status["state"] == "running":
        began = status.get("started_at")
        long = f", for {_length((now - datetime.fromisoformat(began)).total_seconds())} now" if began else ""
        yield Sentence(f"It is listening on {where}{long}.")
    elif status["state"] == "stopped":
        yield Sentence(f"It was stopped {ago(status['time'], now)}; until then it listened on {where}.")
    else:
        yield Sentence(
            f"It has said nothing for {status['age']:.0f} s: it was killed, or hangs. It listened on {where}.", True
        )


def _taken(status: Mapping[str, Any]) -> Iterator[Sentence]:
    intake, delivery = status.get("intake", {}), status.get("delivery", {})
    taken = int(intake.get("journaled", 0))
    past = status["state"] != "running"
    text = (
        f"It {'took' if past else 'has taken'} {plural(taken, 'event')} since it started"
        if taken
        else "It has not taken any event yet"
    )
    if clients := int(delivery.get("streams", 0)):
        lost = int(delivery.get("lost", 0))
        said = (
            "none of them was lost on the way"
            if not lost
            else f"{plural(lost, 'more event')} {_was(lost)} lost on the way"
        )
        text += f", from {plural(clients, 'client')} that {'numbers its' if clients == 1 else 'number their'} events; {said}"
    yield Sentence(f"{text}.", bool(delivery.get("lost")))
    if repeated := int(intake.get("repeated", 0)):
        yield Sentence(f"{plural(repeated, 'event')} came twice and {_was(repeated)} taken once.")
    for name, facts in status.get("inputs", {}).items():
        if dropped := int(facts.get("kernel_drops", 0)):
            yield Sentence(
                f"Input {name}: the kernel dropped {plural(dropped, 'datagram')}, as they came faster than they were read. "
                "A larger receive_buffer or more sockets help.", True,
            )  # fmt: skip
    if dropped := int(intake.get("dropped_full", 0)) + int(intake.get("refused_full", 0)):
        yield Sentence(f"{plural(dropped, 'event')} found no room and {_was(dropped)} turned away.", True)
    dead = {reason: int(count) for reason, count in status.get("dead_letters", {}).items() if count}
    if dead:
        reasons = ", ".join(f"{reason.replace('_', ' ')}: {count:,}" for reason, count in dead.items())
        yield Sentence(
            f"{plural(sum(dead.values()), 'message')} could not be taken for an event ({reasons}); dead/ of the data folder has them, each with its reason.",
            True,
        )


def _outputs(status: Mapping[str, Any]) -> Iterator[Sentence]:
    outputs = status.get("outputs", {})
    late = []
    for name, facts in outputs.items():
        if facts.get("error"):
            yield Sentence(f"Output {name} fails: {facts['error']}", True)
        elif (behind := float(facts.get("behind_seconds") or 0.0)) > _BEHIND:
            late.append(f"{name} is {_length(behind)} behind")
    journal = status.get("journal", {})
    waiting = f"; the journal holds {size(journal['bytes'])}" if journal.get("bytes") else ""
    if late:
        yield Sentence(f"Output {', '.join(late)}{waiting}.", True)
    elif outputs and status["state"] == "running" and not any(facts.get("error") for facts in outputs.values()):
        yield Sentence(
            f"{'Its output keeps' if len(outputs) == 1 else f'All {len(outputs)} outputs keep'} up{waiting}."
        )
    if journal.get("refuses"):
        yield Sentence(f"The journal takes nothing: {journal['refuses']}", True)


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _length(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def ago(value: datetime | str | None, now: datetime | None = None) -> str:
    """How long ago, in words."""
    if value is None:
        return "never"
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    seconds = ((now or datetime.now(UTC)) - value).total_seconds()
    return "now" if seconds < 2 else f"{_length(seconds)} ago"
