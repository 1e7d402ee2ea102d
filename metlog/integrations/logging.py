"""A handler for stdlib logging: records become events. It can sit on the root logger, at any level."""

from __future__ import annotations

import logging
import os
import sys
from threading import current_thread, get_ident
from typing import Any, Final

from metlog.client import MetlogClient, state_of
from metlog.core.context import is_fixed
from metlog.core.direct import log_direct
from metlog.integrations._common import OWN_THREADS, client_of, is_own_logger, sends_here, severity_of
from metlog.tracebacks import exception_fields
from metlog.values import MARK, formatted, text_of, type_name

__all__ = ["MetlogHandler"]

_LAYOUT: Final = list(
    logging.makeLogRecord({}).__dict__
)  # attributes of every record, in the order in which they are set
_TASKS: Final = sys.version_info >= (3, 12)
"""Whether records have a `taskName`."""
_WIDTH: Final = len(_LAYOUT)
_LAST: Final = _LAYOUT[-1]
_STANDARD: Final = frozenset(_LAYOUT) | {"message", "asctime", "taskName"}

_inside: Final[set[int]] = set()
"""Threads in which code of the application runs inside `emit`: a filter, or a `__str__` in the arguments, may log itself."""

Site = tuple[tuple[str, str], int, dict[str, Any], bool]
"""What calls of one place in one thread have in common: tokens, severity, fields, and whether these are fixed."""
_sites: Final[dict[Any, Site]] = {}
"""By what makes it up."""
_MOST_SITES: Final = 4096


def _site_of(key: tuple[Any, ...]) -> Site | None:
    """Returns what the records of one call have in common; None for what is metlog's own, which is left alone."""
    name, level, level_name, path, line, function, thread, process = key
    if isinstance(name, str) and is_own_logger(name):
        return None
    if (current_thread().name if thread is None else thread) in OWN_THREADS:
        return None
    fields = {
        "logger_name": name,
        "level": level_name,
        "pathname": path,
        "lineno": line,
        "func": function,
        "thread": thread,
        "process": process,
    }
    site = ("oldstyle", name if type(name) is str else str(name)), severity_of(level), fields, is_fixed(fields)
    if site[3] and thread is not None:
        if len(_sites) >= _MOST_SITES:  # names made at run time
            _sites.clear()
        _sites[key] = site
    return site


def _after_fork() -> None:
    _inside.intersection_update({get_ident()})  # the others are not in the child, and their numbers may be given again


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
        self._unfiltered = type(self).filter is logging.Handler.filter  # so far

    def handle(self, record: logging.LogRecord) -> Any:
        """As the base class, without its lock: a client is safe for threads, and none of them waits for another."""
        if self._unfiltered and not self.filters:
            self.emit(record)
            return True
        kept: Any = self.filter(record)
        if isinstance(kept, logging.LogRecord):  # a filter may replace the record, since Python 3.12
            record = kept
        if kept:
            self.emit(record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Sends the record; never raises (see `logging.raiseExceptions` for where faults are told)."""
        # As few steps as can be: a service logs thousands of these. Attributes are read from the dict, once it exists the
        # faster way.
        if _inside and get_ident() in _inside:
            return
        try:
            its = record.__dict__
            key = (
                its["name"], its["levelno"], its["levelname"], its["pathname"], its["lineno"], its["funcName"],
                its["threadName"], its["processName"],
            )  # fmt: skip
            try:
                site = _sites[key]
            except (KeyError, TypeError):  # a name of another kind may have no hash
                made = _site_of(key)
                if made is None:
                    return
                site = made
            tokens, severity, around, fixed = site
            pipeline: Any = self._state.pipeline
            if severity > pipeline.severity_max:  # before anything is formatted
                if not sends_here(pipeline):
                    pipeline.admit_severity(severity)
                return
            fields = around.copy()
            task = its.get("taskName") if _TASKS else None
            if task is not None:
                fields["task"] = task
                fixed = fixed and type(task) is str
            names, count = reversed(its), _WIDTH  # `extra` comes after what every record has
            extra: list[str] = []
            for other in names:
                if other == _LAST:
                    break
                count += 1
                if other not in _STANDARD:
                    extra.append(other)
            for other in reversed(extra):
                fields[other] = value = its[other]
                if type(value) is not str and fixed:
                    fixed = is_fixed({other: value})
            if count != len(its):  # the record was made another way: each of its names is looked at
                for other in names:
                    if other not in _STANDARD:
                        fields[other], fixed = its[other], False
            payload = its["msg"]
            if (
                type(payload) is str
                and not its["args"]
                and type(record) is logging.LogRecord
                and self.formatter is its["exc_info"] is its["exc_text"] is its["stack_info"] is None
                and not pipeline.buffer.owner
                and log_direct(self._client, tokens, severity, payload, fields, fixed)
            ):
                return
            if not sends_here(pipeline):
                self._send(record, tokens, severity, fields)
        except Exception as error:  # noqa: BLE001 - stdlib's own way to tell what a handler raised
            self._state.pipeline.lose(error)
            self.handleError(record)

    def _send(self, record: logging.LogRecord, tokens: tuple[str, str], severity: int, fields: dict[str, Any]) -> None:
        """As the rest of `emit`, where code of the application runs: what that logs through a handler is left out."""
        its, here = record.__dict__, get_ident()
        _inside.add(here)
        try:
            try:
                payload = record.getMessage() if self.formatter is None else self.formatter.format(record)
            except Exception as error:  # noqa: BLE001 - arguments that do not fit the message: the record is worth having
                payload, wrong = formatted(record.msg, record.args)
                fields["metlog.format_error"] = wrong = wrong or f"{type_name(error)}: {text_of(error)[0]}"
                fields[MARK] = [f"payload: {wrong}"]
            if its["exc_info"] is not None:
                fields = {**exception_fields(its["exc_info"]), **fields}  # what `extra` says goes before
            elif its["exc_text"]:  # the exception stayed in another process; its text came along (QueueHandler)
                fields.setdefault("traceback", its["exc_text"])
            if its["stack_info"]:
                fields.setdefault("stack", its["stack_info"])
            if (
                MARK in fields
                or type(payload) is not str
                or not log_direct(self._client, tokens, severity, payload, fields)
            ):
                self._client.log(tokens, payload, severity=severity, fields=fields)
        finally:
            _inside.discard(here)

    def flush(self) -> None:
        """Sends what the client holds; waits at most 2 s."""
        self._client.flush(2.0)
