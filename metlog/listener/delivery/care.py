"""After an output's process has ended again and again at a position: smaller batches, and events that are tried before they are decoded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from metlog.journal.segment import Record
from metlog.listener.delivery.lines import Fatal
from metlog.listener.outputs.context import Context
from metlog.plugins.schema import Seconds, Size

__all__ = ["UNDELIVERABLE", "Care", "Limits"]

DEATHS: Final = 2
"""How often the process must have ended at one place before events are tried."""
_HALVES: Final = 4
"""How often before batches are halved. A part has another id than its batch, which may have been delivered: two ends by chance are too
few for that."""
UNDELIVERABLE: Final = "ended the process that was to deliver it"
_LARGE: Final = 4096
"""Bytes above which an event is tried; a smaller one needs less memory than any process that runs has left."""
_BESIDE: Final = 64 << 20
"""Bytes that the process holds beside an event: a batch, and what the output makes of it."""


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ends a batch; whichever comes first."""

    batch_events: Annotated[int, Meta(ge=1)] = 500
    batch_bytes: Annotated[Size, Meta(ge=1)] = 1 << 20
    batch_age: Annotated[Seconds, Meta(gt=0)] = 1.0
    """Seconds since its first event."""


class Care:
    """The limits of batches. With each further end of the process at one place they are halved, until as many events have passed as a whole
    batch holds. An event is given up when the process has ended with it alone in a batch."""

    def __init__(self, context: Context, limits: Limits) -> None:
        self._whole = self.limits = limits
        self.taken = context.deaths >= DEATHS
        self.halves = context.deaths >= _HALVES
        self.gives_up = False
        """Whether the next event is given up."""
        self.fatal = Fatal()
        self._left = limits.batch_events
        if not self.taken:
            return
        halvings = max(0, context.deaths - _HALVES + 1)
        most = limits.batch_events >> halvings
        self.gives_up = most == 0
        size = max(1, limits.batch_bytes >> halvings)
        self.limits = msgspec.structs.replace(limits, batch_events=max(1, most), batch_bytes=size)
        self.fatal = _Tried(min(_BESIDE << (context.deaths - DEATHS), 1 << 32))
        context.report(error=f"its process ended {context.deaths} times at one position: looks for the event at fault")

    def passed(self, events: int) -> None:
        """Counts events that were delivered or given up."""
        if self.taken:
            self.gives_up = False
            self._left -= events
            if self._left <= 0:
                self.taken, self.limits, self.fatal = False, self._whole, Fatal()


class _Tried(Fatal):
    """Events of some size are decoded and encoded in a process that may die."""

    def __init__(self, ballast: int) -> None:
        self._ballast = ballast

    def __call__(self, lines: Sequence[bytes], record: Record) -> Collection[int]:
        large = [number for number, text in enumerate(lines) if len(text) > _LARGE]
        if not large:
            return ()
        from metlog.lake.careful import fatal

        made = [record._replace(lines=lines[number] + b"\n", tail=b"", count=1, members=-1) for number in large]
        return {large[number] for number in fatal(made, self._ballast, columns=False)}
