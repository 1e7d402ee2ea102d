"""The original's bridge from stdlib logging."""

from __future__ import annotations

import logging

from metlog.client import MetlogClient
from metlog.integrations._common import is_own
from metlog.values import MARK, formatted

__all__ = ["MetlogHandler", "hook_logger"]

_LEVELS = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


class MetlogHandler(logging.Handler):
    """Hands log records to a client as events of type `oldstyle`.

    Records of metlog itself, and of what its threads call to send, are skipped: each would make the next one, without an end.
    """

    def __init__(self, metlog_client: MetlogClient) -> None:
        super().__init__()
        self.metlog_client = metlog_client

    def emit(self, record: logging.LogRecord) -> None:
        """Sends the formatted message; the original sent it without its arguments."""
        if is_own(self.metlog_client, record.name, record.threadName):
            return
        try:
            severity = next(severity for level, severity in _LEVELS if record.levelno >= level)
            try:
                payload, fields = record.getMessage(), None
            except Exception:  # noqa: BLE001 - arguments that do not fit the message: the record is worth having
                payload, wrong = formatted(record.msg, record.args)
                fields = {"metlog.format_error": wrong, MARK: [f"payload: {wrong}"]}
            self.metlog_client.metlog(type="oldstyle", severity=severity, payload=payload, fields=fields)
        except Exception:  # noqa: BLE001 - logging's own way to tell
            self.handleError(record)


def hook_logger(logger_name: str | None, client: MetlogClient) -> None:
    """Registers a handler for the client with the stdlib logger of that name, once."""
    logger = logging.getLogger(logger_name)
    if not any(isinstance(item, MetlogHandler) and item.metlog_client is client for item in logger.handlers):
        logger.addHandler(MetlogHandler(client))
