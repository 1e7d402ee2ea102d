"""Target `event`: a notice as an event of type `alert`."""

from __future__ import annotations

import os
import socket
from typing import Any

import msgspec

from metlog import plugins
from metlog.alerts.targets import BaseTarget, Notice, Submit
from metlog.client import MetlogClient
from metlog.errors import MetlogError
from metlog.event import Event

__all__ = ["EventTarget"]


class EventTarget(BaseTarget):
    """Makes an event of each notice, type `alert`, which every query, report and output then sees.

    to
        A sender, as of a client: `udp://127.0.0.1:5565`. In a listener's configuration it may be left out: the event goes into its own
        journal.
    logger
        `logger` of the event.
    """

    def __init__(self, *, to: Any = None, logger: str = "metlog.alerts") -> None:
        if to is not None:
            plugins.check("sender", to, "to")
        self._to, self._logger = to, logger
        self._submit: Submit | None = None

    def bind(self, submit: Submit | None) -> None:
        if submit is None and self._to is None:
            raise ValueError(
                "to: needed here, where no listener runs in the same process, such as udp://127.0.0.1:5565"
            )
        self._submit = submit

    def describe(self) -> str:
        return "event" if self._to is None else "event to a sender"

    def send(self, notice: Notice) -> None:
        fields = msgspec.to_builtins(notice)
        text, severity = fields.pop("text"), fields.pop("severity")
        tokens = ("alert", notice.kind)
        if self._to is None:
            assert self._submit is not None
            self._submit([
                Event(
                    type="alert", tokens=tokens, logger=self._logger, severity=severity, payload=text, fields=fields,
                    hostname=socket.gethostname(), pid=os.getpid(),
                )
            ])  # fmt: skip
            return
        client = MetlogClient.from_config({"logger": self._logger, "sender": self._to, "statsd": False})
        try:
            client.log(tokens, text, severity=severity, fields=fields)
            client.flush(5.0)
        finally:
            client.close()
        if dropped := client.stats().dropped:
            raise MetlogError(f"{self.describe()}: not sent: {', '.join(dropped)}")
