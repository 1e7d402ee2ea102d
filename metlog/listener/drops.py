"""What the listener itself could not take, as events in the lake: beside the gaps of the streams stands then where they come from."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

from metlog.event import Event

__all__ = ["DROPS_TYPE", "Drops"]

DROPS_TYPE: Final = "metlog.drops"
"""Type of an event of the listener: `fields` has `input` and `socket` with `kernel_drops`, datagrams that the kernel dropped
for want of receive buffer, or `journal_full`, events dropped because the journal took none; each since the last such event."""

_LOGGER: Final = "metlog.listener"
_JOURNAL: Final = ""
"""Name of the journal's count among those of sockets."""


class Drops:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        """The totals that the last events were made of."""

    def events(self, sockets: Mapping[str, Sequence[Mapping[str, Any]]], dropped_full: int) -> list[Event]:
        """An event for each socket with new drops, and for the journal. `sockets`: of each input, as `sockets()` gives them;
        `dropped_full`: events dropped since the listener's sink began. What they say counts as told from `settle` on."""
        found = []
        self._seen = {}
        for item, listed in sockets.items():
            for index, place in enumerate(listed):
                name = f"{place['address']}#{index}" if len(listed) > 1 else str(place["address"])
                if more := self._more(f"{item} {name}", int(place["kernel_drops"])):
                    fields = {"input": item, "socket": name, "kernel_drops": more}
                    text = f"the kernel dropped {more} datagrams for {name}: raise receive_buffer, or sockets, of the input {item}"
                    found.append(_event(text, fields))
        if more := self._more(_JOURNAL, dropped_full):
            text = f"{more} events were dropped while the journal took none: see the listener's log"
            found.append(_event(text, {"journal_full": more}))
        return found

    def settle(self) -> None:
        """The events that were asked for last are journaled."""
        self._told |= self._seen

    def begin_anew(self) -> None:
        """Another sink counts from 0 what the journal did not take."""
        self._told.pop(_JOURNAL, None)

    def _more(self, name: str, total: int) -> int:
        """How many are new; all of them where a counter stands lower than it did: it is another socket's."""
        self._seen[name] = total
        told = self._told.get(name, 0)
        return total - told if total >= told else total


def _event(text: str, fields: dict[str, Any]) -> Event:
    return Event(
        type=DROPS_TYPE, tokens=(DROPS_TYPE,), logger=_LOGGER, severity=4, payload=text, fields=fields, pid=os.getpid(),
        hostname=socket.gethostname(),  # several listeners may write into one lake
    )  # fmt: skip
