"""Named points at which a test lets the process die or the disk fail. Without the variable `METLOG_FAULT` they do nothing.

    METLOG_FAULT=POINT[:PASSING][=ACTION],…      rename     rename:3     fsync:2=eio,rescue.end     lake.fsync:1+=enospc

`PASSING`: at which passing of the point, 1 by default; `3+` means the third and every later one. `ACTION`: `kill` (the
default) kills the whole process group, as if the machine's operator had; `die` kills this process alone; `eio` and
`enospc` raise that error.

Each process counts its passings for itself: the listener passes the points of the journal, an output's process those of its
cursor, and that of the lake those of the lake.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = ["ALERT_POINTS", "IMPORT_POINTS", "ON", "POINTS", "UPKEEP_POINTS", "VARIABLE", "point", "torn"]

VARIABLE: Final = "METLOG_FAULT"

POINTS: Final = (
    # A segment, from its making to its end. `torn`: killed with half of a record written.
    "create", "header", "append", "torn", "appended", "fsync", "fsynced", "seal", "rename",
    "before_unlink", "after_unlink",
    # What an fsync that failed did not confirm, written anew.
    "rescue.write", "rescue.end", "rescue.rename", "rescue.seal",
    # What a crash left, at the next start.
    "recover", "recover.seal", "quarantine",
    # The keys of submissions, and an output's cursor: before the new file, before its renaming, after it.
    "keys", "keys.rename", "keys.saved", "cursor", "cursor.rename", "cursor.saved",
    # A batch of an output: known to be under way, and delivered.
    "batch.pending", "batch.delivered",
    # A segment's Parquet files.
    "lake.write", "lake.fsync", "lake.rename", "lake.sync", "lake.cursor",
)  # fmt: skip

UPKEEP_POINTS: Final = (
    # Files of a day replaced by others (metlog.lake.replacing).
    "replace.write", "compact.merged", "replace.written", "replace.hidden", "replace.target", "replace.unlink", "replace.renamed",
    "replace.named", "replace.unhidden", "replace.done",
    # A journal's segment of which some events are forgotten, and a file of lines of which some are.
    "forget.segment", "forget.lines",
)  # fmt: skip
"""Those that `metlog compact`, `expire` and `forget` pass."""

IMPORT_POINTS: Final = ("import.part", "import.part.rename", "import.part.saved", "import.written", "import.known")
"""Those that `metlog import` passes: around each file that it writes, and around the line that says that all of them are there."""

ALERT_POINTS: Final = ("alerts.save", "alerts.save.rename", "alerts.save.saved", "alerts.send", "alerts.sent")
"""Those that alerts pass: their states are kept, a notice is sent."""

_SPEC: Final = re.compile(r"([a-z_.]+)(?::(\d+)(\+)?)?(?:=(kill|die|eio|enospc))?")


class _Fault(NamedTuple):
    passing: int
    again: bool
    action: str


def _parse(text: str) -> dict[str, _Fault]:
    faults = {}
    known = (*POINTS, *UPKEEP_POINTS, *IMPORT_POINTS, *ALERT_POINTS)
    for spec in filter(None, text.split(",")):
        match = _SPEC.fullmatch(spec)
        if match is None or match[1] not in known:
            raise ValueError(
                f"{VARIABLE} = {text!r}: wants POINT[:PASSING][=kill|die|eio|enospc],… with points {', '.join(known)}"
            )
        faults[match[1]] = _Fault(int(match[2] or 1), bool(match[3]), match[4] or "kill")
    return faults


_faults: Final = _parse(os.environ.get(VARIABLE, ""))
_passed: Final[Counter[str]] = Counter()

ON: Final = bool(_faults)
"""Whether any point is armed."""


def _nothing(name: str) -> None:
    pass


def _armed(name: str) -> None:
    fault = _faults.get(name)
    if fault is None:
        return
    _passed[name] += 1
    if _passed[name] == fault.passing or (_passed[name] > fault.passing and fault.again):
        match fault.action:
            case "kill":
                os.killpg(0, signal.SIGKILL)  # nothing is flushed, nothing is closed
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "eio":
                raise OSError(errno.EIO, f"{os.strerror(errno.EIO)} (made by {VARIABLE} at {name})")
            case "enospc":
                raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (made by {VARIABLE} at {name})")


point: Final[Callable[[str], None]] = _armed if ON else _nothing
"""`point("rename")`: where the armed fault happens."""


def torn(descriptor: int, content: bytes) -> None:
    """The point `torn`: when it is armed, half of the content is written before the process dies there."""
    if (fault := _faults.get("torn")) is not None and _passed["torn"] + 1 == fault.passing:
        os.write(descriptor, content[: len(content) // 2])
    point("torn")
