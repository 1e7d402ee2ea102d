"""What else one could use, doing the nearest to the same; each is left out when it is not installed (extra `bench`)."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import queue
import time
from collections.abc import Callable
from typing import Any, Final

from metlog.bench.modes import plain_logger
from metlog.bench.run import Case, Opened, both, drained

__all__ = ["CASES"]


def _statsd() -> Opened:
    import statsd

    port, close = drained()
    client = statsd.StatsClient("127.0.0.1", port)

    def loop(number: int) -> None:
        for _ in range(number):
            client.incr("orders")

    return loop, both(client.close, close)


def _dogstatsd() -> Opened:
    from datadog.dogstatsd import DogStatsd

    port, close = drained()
    client = DogStatsd(host="127.0.0.1", port=port, disable_buffering=False, telemetry_min_flush_interval=3600)
    tags = ["a:1", "b:2", "c:3"]

    def loop(number: int) -> None:
        for _ in range(number):
            client.increment("orders", tags=tags)
        client.flush()

    return loop, both(client.stop, close)


def _dogstatsd_aggregating() -> Opened:
    from datadog.dogstatsd import DogStatsd

    port, close = drained()
    client = DogStatsd(
        host="127.0.0.1",
        port=port,
        disable_buffering=False,
        disable_aggregation=False,
        telemetry_min_flush_interval=3600,
    )

    def loop(number: int) -> None:
        for _ in range(number):
            client.increment("orders")
        client.flush()

    return loop, both(client.stop, close)


def _stdlib(make: Callable[[int], logging.Handler]) -> Callable[[], Opened]:
    def opened() -> Opened:
        port, close = drained()
        handler = make(port)
        logger = plain_logger(handler)

        def loop(number: int) -> None:
            for _ in range(number):
                logger.info("user logged in", extra={"user": "u1", "path": "/a/b"})

        return loop, both(handler.close, close)

    return opened


class _Nothing(logging.Handler):
    """What a record costs before any handler does something."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


class _JsonDatagrams(logging.handlers.DatagramHandler):
    def emit(self, record: logging.LogRecord) -> None:
        said = {
            "message": record.getMessage(), "logger": record.name, "user": record.__dict__["user"],
            "path": record.__dict__["path"], "time": record.created,
        }  # fmt: skip
        self.send(json.dumps(said).encode())


def _queue_handler() -> Opened:
    """A QueueHandler before the JSON datagrams; the loop ends when the listener's thread has sent the last."""
    port, close = drained()
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(waiting, _JsonDatagrams("127.0.0.1", port))
    listener.start()
    logger = plain_logger(logging.handlers.QueueHandler(waiting))

    def loop(number: int) -> None:
        for _ in range(number):
            logger.info("user logged in", extra={"user": "u1", "path": "/a/b"})
        while not waiting.empty():
            time.sleep(0.0005)

    return loop, both(listener.stop, close)


def _logstash(port: int) -> logging.Handler:
    from logstash import UDPLogstashHandler

    handler: logging.Handler = UDPLogstashHandler("127.0.0.1", port, version=1)
    return handler


def _structlog() -> Opened:
    import orjson
    import structlog

    processors = [structlog.processors.TimeStamper("iso"), structlog.processors.JSONRenderer(serializer=orjson.dumps)]
    sink = io.BytesIO()
    log = structlog.wrap_logger(structlog.BytesLogger(sink), processors=processors)

    def loop(number: int) -> None:
        for _ in range(number):
            log.info("user logged in", user="u1", path="/a/b", ms=12.5)
        sink.seek(0)
        sink.truncate()

    return loop, lambda: None


def _loguru() -> Opened:
    from loguru import logger

    logger.remove()
    identity = logger.add(lambda message: None, serialize=True)

    def loop(number: int) -> None:
        for _ in range(number):
            logger.info("user logged in", user="u1", path="/a/b", ms=12.5)

    return loop, lambda: logger.remove(identity)


def _opentelemetry() -> Opened:
    """The logs SDK behind its stdlib handler, in batches, to an exporter that takes them and does nothing."""
    import warnings

    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

    class Nothing(LogRecordExporter):  # type: ignore[misc]
        def export(self, batch: Any) -> Any:
            return LogRecordExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 0) -> bool:
            return True

        def shutdown(self) -> None: ...

    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(Nothing(), max_queue_size=1 << 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        logger = plain_logger(LoggingHandler(logger_provider=provider))

    def loop(number: int) -> None:
        for _ in range(number):
            logger.info("user logged in", extra={"user": "u1", "path": "/a/b"})
        provider.force_flush()

    return loop, provider.shutdown


def _syslog(port: int) -> logging.Handler:
    return logging.handlers.SysLogHandler(("127.0.0.1", port))


CASES: Final[tuple[Case, ...]] = (
    Case("statsd incr", "peer", _statsd),
    Case("dogstatsd, buffered, three tags", "peer", _dogstatsd),
    Case("dogstatsd, aggregating", "peer", _dogstatsd_aggregating),
    Case("structlog + orjson, to memory", "peer", _structlog),
    Case("stdlib handler that does nothing", "peer", _stdlib(lambda _port: _Nothing())),
    Case("stdlib SysLogHandler", "peer", _stdlib(_syslog)),
    Case("stdlib DatagramHandler, JSON", "peer", _stdlib(lambda port: _JsonDatagrams("127.0.0.1", port))),
    Case("stdlib QueueHandler, JSON datagrams", "peer", _queue_handler),
    Case("python-logstash", "peer", _stdlib(_logstash)),
    Case("OpenTelemetry logs, batched, to nothing", "peer", _opentelemetry),
    Case("loguru, serialized, to nothing", "peer", _loguru),
)
