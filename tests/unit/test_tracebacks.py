"""Exceptions in events: no local variables, causes and groups whole, within a size, and `redact` reaches into them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from metlog import MetlogClient
from metlog.integrations.logging import MetlogHandler
from metlog.senders.memory import MemorySender
from metlog.tracebacks import MAX_TRACEBACK, exception_fields, render

SECRET = "hunter2-tiger"


def fail() -> None:
    password = "".join(["hunter2", "-", "tiger"])  # in no source line, only in a local variable
    raise ValueError(f"wrong password of {len(password)} characters")


def by_exception(client: MetlogClient) -> None:
    try:
        fail()
    except ValueError:
        client.exception("login")


def by_exc_info(client: MetlogClient) -> None:
    try:
        fail()
    except ValueError as error:
        client.error("login", exc_info=error)


def by_value(client: MetlogClient) -> None:
    try:
        fail()
    except ValueError as error:
        client.log("login", fields={"traceback": error})


def by_logging(client: MetlogClient) -> None:
    logger = logging.Logger("theirs")
    logger.addHandler(MetlogHandler(client=client))
    try:
        fail()
    except ValueError:
        logger.exception("login")


@pytest.mark.parametrize("encoder", ["json", "msgpack", "text"])
@pytest.mark.parametrize("way", [by_exception, by_exc_info, by_value, by_logging])
def test_no_local_variable_is_in_it(way: Callable[[MetlogClient], None], encoder: str) -> None:
    sender = MemorySender()
    with MetlogClient.from_config(sender=sender, encoder=encoder) as client:
        way(client)
    written = b"".join(sender.frames)
    assert b"wrong password of 13 characters" in written
    assert b"in fail" in written  # the traceback is there
    assert SECRET.encode() not in written


def test_local_variables_are_there_when_they_are_asked_for() -> None:
    try:
        fail()
    except ValueError as error:
        fields = exception_fields(error, local_variables=True)
    assert SECRET in fields["traceback"]


def group(width: int, depth: int) -> ExceptionGroup[Exception]:
    inner: Exception = KeyError("innermost")
    for level in range(depth):
        inner = ExceptionGroup(f"level {level}", [inner])
    members = [ValueError(f"member {number}.") for number in range(width)]
    made = ExceptionGroup("all of them", [*members, inner])
    made.add_note("a note")
    made.__cause__ = OSError("the cause")
    made.__cause__.__context__ = RuntimeError("its context")
    return made


def test_groups_causes_contexts_and_notes_are_whole() -> None:
    """Python itself would stop at 15 members, and at 10 levels."""
    text = render(group(60, 30), limit=10**6)
    words = [f"member {number}." for number in range(60)] + [f"level {level} (" for level in range(30)]
    missing = [word for word in (*words, "innermost", "the cause", "its context", "a note") if word not in text]
    assert missing == []


def test_a_text_that_is_too_long_keeps_its_start_and_its_end() -> None:
    sender = MemorySender()
    with MetlogClient.from_config(sender=sender) as client:
        client.error("x", exc_info=group(900, 3))
    found = next(event.fields["traceback"] for event in sender.events if event.type == "oldstyle")
    assert len(found) < MAX_TRACEBACK + 100
    assert "characters left out" in found
    assert "its context" in found[: MAX_TRACEBACK // 4]
    assert "innermost" in found[-500:]


def chained() -> Exception:
    try:
        try:
            raise KeyError(f"cause {SECRET}")
        except KeyError as error:
            raise ExceptionGroup(f"group {SECRET}", [ValueError(SECRET), OSError("harmless")]) from error
    except ExceptionGroup as error:
        error.add_note(f"note {SECRET}")
        return error


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"mask": [SECRET]}, {"exception_type", "exception_message", "traceback"}),
        ({"drop": ["traceback", "exception_message"]}, {"exception_type"}),
        ({"keep": ["exception_type"]}, {"exception_type"}),
    ],
    ids=["mask", "drop", "keep"],
)
@pytest.mark.parametrize("encoder", ["json", "msgpack", "text"])
def test_redact_covers_them(options: dict[str, Any], left: set[str], encoder: str) -> None:
    sender = MemorySender()
    settings = {"sender": sender, "encoder": encoder, "filters": [{"name": "redact", **options}]}
    with MetlogClient.from_config(settings) as client:
        client.error("went wrong", exc_info=chained())
        if "mask" in options:  # as a value, an exception has its traceback in it, wherever it stands
            client.log("other", fields={"deep": [{"error": chained()}]})
    written = b"".join(sender.frames)
    assert SECRET.encode() not in written
    assert b"went wrong" in written
    if encoder != "text":
        found = next(event for event in sender.events if event.type == "oldstyle")
        assert set(found.fields) == left
    if "mask" in options:
        assert written.count(b"OSError: harmless") == 2
        assert written.count(b"***") >= 7  # nothing else of it is lost
