"""Events handed to the standard library's logging: for applications whose log set-up is to have them too."""

from __future__ import annotations

import logging
from typing import Final

from metlog.encoders.wire import decode
from metlog.errors import DecodeError, SenderError
from metlog.event import Event
from metlog.plugins.conversion import Size
from metlog.senders import BaseSender
from metlog.senders.options import at_least, closed

__all__ = ["LoggingSender"]

LEVELS: Final = (
    logging.CRITICAL, logging.CRITICAL, logging.CRITICAL, logging.ERROR,
    logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG,
)  # fmt: skip
"""Level of each severity, 0 to 7."""


class LoggingSender(BaseSender):
    """Makes each event a log record: its payload (or type) is the message, its severity the level, its time `created`.

    logger
        Name of the standard logger that gets the records.
    max_frame
        Bytes.

    A record carries the event as `metlog_event`. The default logger lies below `metlog`, whose records metlog's own
    handler leaves alone; with another name, keep that handler off it, or events go round in circles. Handlers run in
    the sender's thread. A frame that is neither JSON nor MessagePack raises `metlog.errors.SenderError` with the reason
    `undecodable`.
    """

    def __init__(self, *, logger: str = "metlog.events", max_frame: Size = 65536) -> None:
        at_least("max_frame", max_frame, 64, "bytes")
        self.logger, self.max_frame = logger, max_frame
        self._closed = False

    def send(self, frame: bytes) -> None:
        """Logs each event of the frame."""
        if self._closed:
            raise closed(self)
        try:
            events = decode(frame)
        except DecodeError as error:
            raise SenderError(f"the logging sender needs frames that it can read: {error}", "undecodable") from error
        target = logging.getLogger(self.logger)
        for event in events:
            level = LEVELS[event.severity]
            if target.isEnabledFor(level):
                target.handle(_record(target, level, event))

    def flush(self) -> None:
        """Handlers hold what they hold."""

    def close(self) -> None:
        """Refuses frames from now on; the handlers are the application's."""
        self._closed = True


def _record(target: logging.Logger, level: int, event: Event) -> logging.LogRecord:
    message = event.payload or event.type
    record = target.makeRecord(target.name, level, "(metlog)", 0, message, (), None, extra={"metlog_event": event})
    record.created = event.timestamp.timestamp()
    record.msecs = event.timestamp.microsecond // 1000
    record.process = event.pid or record.process
    return record
