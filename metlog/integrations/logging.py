"""A handler for stdlib logging: records become events. It can sit on the root logger, at any level."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from metlog.client import MetlogClient, state_of
from metlog.integrations._common import client_of, is_own, severity_of
from metlog.tracebacks import exception_fields
from metlog.values import MARK, formatted, text_of, type_name

__all__ = ["MetlogHandler"]

_LAYOUT: Final = list(
    logging.makeLogRecord({}).__dict__
)  # attributes of every record, in the order in which they are set
_WIDTH: Final = len(_LAYOUT)
_FIRST: Final = _LAYOUT[:3]
_LAST: Final = _LAYOUT[-1:]
_STANDARD: Final = frozenset(_LAYOUT) | {"message", "asctime", "taskName"}
_SEVERITIES: Final = {level: severity_of(level) for level in (10, 20, 30, 40, 50)}


class _Inside(threading.local):
    now = False  # true in a thread while it is in `emit`


_inside = _Inside()


class MetlogHandler(logging.Handler):
    """Sends each record as an event of type `oldstyle`, tokens (`oldstyle`, name of the logger).

    level
        As for every handler: records below it are left alone.
    client
        A `MetlogClient`, the name of one (`metlog.get_client`), or None for the default; it may be configured later.

    The payload is the message with its arguments put in, or what the formatter makes, where one is set. Fields are
    what `extra` holds, and `logger_name`, `level`, `pathname`, `lineno`, `func`, `thread`, `process`, `task`;
    with `exc_info` also `exception_type`, `exception_message`, `traceback`, with `stack_info` `stack`.

    Left alone, without an event: records of the logger `metlog`, records from metlog's own threads, and what is logged
    while a frame is being sent. So a peer that is down cannot make the handler feed itself, at DEBUG either.

    In `dictConfig`: `{"class": "metlog.integrations.logging.MetlogHandler", "level": "INFO", "client": "sync"}`.

    >>> import logging, metlog
    >>> client = metlog.MetlogClient.from_config("memory:")
    >>> log = logging.getLogger("shop")
    >>> log.addHandler(MetlogHandler(client=client))
    >>> log.warning("stock of %s is low", "pears", extra={"left": 3})
    >>> client.flush()
    True
    >>> event = client.sender.events[0]
    >>> event.payload, event.severity, event.fields["left"]
    ('stock of pears is low', 4, 3)
    """

    def __init__(self, level: int | str = 0, client: MetlogClient | str | None = None) -> None:
        super().__init__(level)
        self._client = client_of(client)
        self._state = state_of(self._client)

    def handle(self, record: logging.LogRecord) -> Any:
        """As the base class, without its lock: a client is safe for threads, and none of them waits for another."""
        kept: Any = self.filter(record)
        if isinstance(kept, logging.LogRecord):  # a filter may replace the record, since Python 3.12
            record = kept
        if kept:
            self.emit(record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Sends the record; never raises (see `logging.raiseExceptions` for where faults are told)."""
        if _inside.now:  # a filter, or a `__str__` in the arguments, logs itself
            return
        _inside.now = True
        try:
            client = self._client
            if not is_own(client, record.name, record.threadName):
                self._send(client, record)
        except Exception as error:  # noqa: BLE001 - stdlib's own way to tell what a handler raised
            self._state.pipeline.lose(error)
            self.handleError(record)
        finally:
            _inside.now = False

    def _send(self, client: MetlogClient, record: logging.LogRecord) -> None:
        # As few steps as can be: a service logs thousands of these. Attributes are read from the dict, once it exists the
        # faster way.
        its = record.__dict__
        level = its["levelno"]
        severity = _SEVERITIES.get(level)
        if severity is None:
            severity = severity_of(level)
        pipeline = self._state.pipeline
        if severity > pipeline.severity_max:  # before anything is formatted
            pipeline.admit_severity(severity)
            return
        name = its["name"]
        fields: dict[str, Any] = {
            "logger_name": name,
            "level": its["levelname"],
            "pathname": its["pathname"],
            "lineno": its["lineno"],
            "func": its["funcName"],
            "thread": its["threadName"],
            "process": its["processName"],
        }
        task = its.get("taskName")  # Python 3.12
        if task is not None:
            fields["task"] = task
        try:
            payload = record.getMessage() if self.formatter is None else self.formatter.format(record)
        except Exception as error:  # noqa: BLE001 - arguments that do not fit the message: the record is worth having
            payload, wrong = formatted(record.msg, record.args)
            fields["metlog.format_error"] = wrong = wrong or f"{type_name(error)}: {text_of(error)[0]}"
            fields[MARK] = [f"payload: {wrong}"]
        if its["exc_info"] is not None:
            fields.update(exception_fields(its["exc_info"]))
        elif its["exc_text"]:  # the exception stayed in another process; its text came along (QueueHandler)
            fields["traceback"] = its["exc_text"]
        if its["stack_info"]:
            fields["stack"] = its["stack_info"]
        # `extra` comes after what every record has; where a record was made another way, each of its names is looked at.
        names = list(its)
        usual = names[_WIDTH - 1 : _WIDTH] == _LAST and names[:3] == _FIRST
        for other in names[_WIDTH:] if usual else names:
            if other not in _STANDARD:
                fields[other] = its[other]
        client.log(("oldstyle", name), payload, severity=severity, fields=fields)

    def flush(self) -> None:
        """Sends what the client holds; waits at most 2 s."""
        self._client.flush(2.0)
