"""A processor for structlog: event dictionaries become events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from metlog.client import MetlogClient, state_of
from metlog.integrations._common import client_of, is_own, severity_of
from metlog.tracebacks import exception_fields

__all__ = ["MetlogProcessor"]

_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "msg": logging.INFO,
    "notice": logging.INFO + 5,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "err": logging.ERROR,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "failure": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}


class MetlogProcessor:
    """Sends the event dictionary as an event of type `oldstyle`, and hands it on unchanged.

    client
        A `MetlogClient`, the name of one, or None for the default client.
    drop
        Whether the line ends here (`structlog.DropEvent`): for a chain whose only output is metlog.

    `event` becomes the payload, the level (`level`, or the method's name) the severity, `exc_info` the fields
    `exception_type`, `exception_message`, `traceback`, and everything else the fields. So it belongs after
    `merge_contextvars` and before `format_exc_info` and the renderer. It never raises anything but `DropEvent`.

    >>> import metlog, structlog
    >>> client = metlog.MetlogClient.from_config("memory:")
    >>> log = structlog.wrap_logger(None, processors=[MetlogProcessor(client, drop=True)])
    >>> log.bind(user="u1").warning("slow", ms=350)
    >>> client.flush()
    True
    >>> event = client.sender.events[0]
    >>> event.payload, event.severity, event.fields
    ('slow', 4, {'level': 'warning', 'user': 'u1', 'ms': 350})
    """

    def __init__(self, client: MetlogClient | str | None = None, *, drop: bool = False) -> None:
        self._client = client_of(client)
        self._state = state_of(self._client)
        self._drop = drop

    def __call__(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """What structlog calls."""
        try:
            self._send(logger, method_name, event_dict)
        except Exception as error:  # noqa: BLE001 - as in `MetlogClient.log`
            self._state.pipeline.lose(error)
        if self._drop:
            from structlog import DropEvent

            raise DropEvent
        return event_dict

    def _send(self, logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> None:
        name = event_dict.get("logger")
        if not isinstance(name, str) or not name:
            name = getattr(logger, "name", None)
        if not isinstance(name, str):
            name = None
        if is_own(self._client, name, threading.current_thread().name):
            return
        rest = dict(event_dict)
        payload = rest.pop("event", "")
        level = rest.pop("level", None)
        level = level if isinstance(level, str) and level else method_name
        exc_info = rest.pop("exc_info", None)
        for own in ("logger", "_record", "_from_structlog"):  # the last two are notes of structlog's ProcessorFormatter
            rest.pop(own, None)
        fields: dict[str, Any] = {"level": level}
        if name is not None:
            fields["logger_name"] = name
        number = rest.pop("level_number", None)
        if type(number) is not int:
            number = _LEVELS.get(level.lower(), logging.INFO)
        if exc_info is None and method_name == "exception":
            exc_info = True
        if exc_info is not None and exc_info is not False:
            fields.update(exception_fields(exc_info))
        fields.update(rest)
        tokens = ("oldstyle",) if name is None else ("oldstyle", name)
        self._client.log(tokens, payload, severity=severity_of(number), fields=fields)
