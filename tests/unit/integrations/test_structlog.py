"""The structlog processor, in real structlog chains."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import CapturingLogger

from metlog import Event, MetlogClient
from metlog.integrations.structlog import MetlogProcessor


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:")
    yield made
    made.close()


def one(client: MetlogClient) -> Event:
    assert client.flush(5)
    (event,) = client.sender.events
    return event  # type: ignore[no-any-return]


def test_the_event_dictionary_becomes_an_event_and_goes_on(client: MetlogClient) -> None:
    below = CapturingLogger()
    log = structlog.wrap_logger(
        below, processors=[structlog.stdlib.add_log_level, MetlogProcessor(client), structlog.processors.JSONRenderer()]
    )
    log.bind(user="u1").warning("slow", ms=3.5)
    event = one(client)
    assert (event.type, event.severity, event.payload) == ("oldstyle", 4, "slow")
    assert event.fields == {"level": "warning", "user": "u1", "ms": 3.5}
    (call,) = below.calls
    assert call.method_name == "warning"
    assert '"event": "slow"' in call.args[0]


def test_with_drop_nothing_goes_on(client: MetlogClient) -> None:
    below = CapturingLogger()
    structlog.wrap_logger(below, processors=[MetlogProcessor(client, drop=True)]).info("x")
    assert below.calls == []
    assert one(client).payload == "x"


@pytest.mark.parametrize(
    ("method", "severity"),
    [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2), ("exception", 3), ("msg", 6)],
)
def test_methods_are_severities(client: MetlogClient, method: str, severity: int) -> None:
    log = structlog.wrap_logger(CapturingLogger(), processors=[MetlogProcessor(client, drop=True)])
    getattr(log, method)("x")
    assert one(client).severity == severity


def test_exceptions_have_the_same_fields_as_elsewhere(client: MetlogClient) -> None:
    log = structlog.wrap_logger(CapturingLogger(), processors=[MetlogProcessor(client, drop=True)])
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    fields = one(client).fields
    assert (fields["exception_type"], fields["exception_message"]) == ("ValueError", "broken")
    assert "test_exceptions_have" in fields["traceback"]


def test_over_stdlib_the_name_of_the_logger_is_kept_and_metlog_left_alone(client: MetlogClient) -> None:
    chain: list[Any] = [structlog.stdlib.add_logger_name, MetlogProcessor(client, drop=True)]
    factory = structlog.stdlib.LoggerFactory()
    structlog.wrap_logger(factory("metlog"), processors=chain).info("own")
    structlog.wrap_logger(factory("shop"), processors=chain).info("theirs")
    event = one(client)
    assert event.tokens == ("oldstyle", "shop")
    assert event.fields["logger_name"] == "shop"


def test_an_event_without_a_text_is_sent_and_told(client: MetlogClient) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    log = structlog.wrap_logger(CapturingLogger(), processors=[MetlogProcessor(client, drop=True)])
    log.info(Broken())
    assert client.flush(5)
    assert "has no text" in client.sender.events[0].fields["metlog.repaired"][0]
    assert client.stats().repaired == 1


def test_notes_of_structlogs_formatter_are_no_fields(client: MetlogClient) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name],
        processors=[
            MetlogProcessor(client),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.KeyValueRenderer(),
        ],
    )
    record = logging.LogRecord("shop", logging.WARNING, "shop.py", 1, "slow %s", ("page",), None)
    assert formatter.format(record) == "event='slow page' logger='shop'"
    client.flush()
    event = client.sender.events[0]
    assert (event.payload, event.fields) == ("slow page", {"level": "warning", "logger_name": "shop"})
    assert client.stats().repaired == 0
