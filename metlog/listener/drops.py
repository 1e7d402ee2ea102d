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


class Drops:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def events(self, sockets: Mapping[str, Sequence[Mapping[str, Any]]], dropped_full: int) -> list[Event]:
        """An event for each socket with new drops, and for the journal. `sockets`: of each input, as `sockets()` gives them."""
        found = []
        for item, listed in sockets.items():
            for index, place in enumerate(listed):
                name = f"{place['address']}#{index}" if len(listed) > 1 else str(place["address"])
                if more := self._more(f"{item} {name}", int(place["kernel_drops"])):
                    fields = {"input": item, "socket": name, "kernel_drops": more}
                    text = f"the kernel dropped {more} datagrams for {name}: raise receive_buffer, or sockets, of the input {item}"
                    found.append(_event(text, fields))
        if more := self._more("", dropped_full):
            text = f"{more} events were dropped while the journal took none: see the listener's log"
            found.append(_event(text, {"journal_full": more}))
        return found

    def _more(self, name: str, total: int) -> int:
        more = total - self._told.get(name, 0)
        self._told[name] = total
        return more


def _event(text: str, fields: dict[str, Any]) -> Event:
    return Event(
        type=DROPS_TYPE, tokens=(DROPS_TYPE,), logger=_LOGGER, severity=4, payload=text, fields=fields, pid=os.getpid(),
        hostname=socket.gethostname(),  # several listeners may write into one lake
    )  # fmt: skip
