"""Whatever a client may send is handed on or refused by every output: what `write` raises beside `Rejected` is tried again for ever."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metlog import plugins
from metlog.journal.routing import Route
from metlog.journal.segment import Clock
from metlog.lake.schema import tables
from metlog.listener.outputs import Batch, Delivery, Rejected, stdout
from metlog.listener.outputs._frames import frames_of
from metlog.listener.outputs._posting import Posting
from metlog.listener.outputs.file import FileOutput
from metlog.listener.outputs.http import HttpOutput
from metlog.listener.outputs.kafka import KafkaOutput
from metlog.listener.outputs.otlp import OtlpOutput
from metlog.listener.outputs.statsd import StatsdOutput
from metlog.listener.outputs.stdout import StdoutOutput
from metlog.listener.outputs.udp import UdpOutput
from metlog.plugins import installed
from tests.helpers import strange
from tests.helpers.ports import free_port

Writes = Callable[[Sequence[Delivery]], None]
KEY = "0123456789abcdef"
ENCODERS = {"json": "json", "text": "text", "msgpack": "msgpack", "signed": {"name": "signed", "key": KEY}}


def batch(deliveries: Sequence[Delivery]) -> Batch:
    return Batch("b", deliveries, 1)


def posting(output: Posting) -> Writes:
    """The request alone: what becomes of it is another matter."""

    def write(deliveries: Sequence[Delivery]) -> None:
        for ident, part in output.parts(batch(deliveries)):
            output.post(ident, part)

    return write


@contextmanager
def http(how: str, _: Path) -> Iterator[Writes]:
    yield posting(HttpOutput(batch=how))  # type: ignore[arg-type]


@contextmanager
def otlp(encoding: str, _: Path) -> Iterator[Writes]:
    yield posting(OtlpOutput(encoding=encoding))  # type: ignore[arg-type]


@contextmanager
def file(encoder: str, folder: Path) -> Iterator[Writes]:
    output = FileOutput(path=str(folder / "events"), encoder=ENCODERS[encoder], fsync=False)
    output.start()
    numbers = itertools.count()
    try:
        yield lambda deliveries: output.write(Batch(str(next(numbers)), deliveries, 1))
    finally:
        output.close()


@contextmanager
def to_stdout(_: str, folder: Path) -> Iterator[Writes]:
    descriptor = os.open(folder / "out", os.O_WRONLY | os.O_CREAT)
    output = StdoutOutput()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stdout, "_FD", descriptor)
            yield lambda deliveries: output.write(batch(deliveries))
    finally:
        os.close(descriptor)


@contextmanager
def zmq(encoding: str, _: Path) -> Iterator[Writes]:
    """The messages alone."""
    encoder = plugins.build("encoder", ENCODERS[encoding], "encoder")

    def write(deliveries: Sequence[Delivery]) -> None:
        made, _ = frames_of(encoder, deliveries, 8192, 65_507)
        assert all(len(frame) <= 65_507 for frame in made)

    yield write


@contextmanager
def udp(_: str, __: Path) -> Iterator[Writes]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        output = UdpOutput(port=server.getsockname()[1], rate=0)
        yield lambda deliveries: output.write(batch(deliveries))
        output.close()


@contextmanager
def statsd(prefix: str, _: Path) -> Iterator[Writes]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        output = StatsdOutput(port=server.getsockname()[1], prefix=prefix, max_packet=65_507)
        output.start()
        yield lambda deliveries: output.write(batch(deliveries))
        output.close()


@contextmanager
def kafka(topic: str, _: Path) -> Iterator[Writes]:
    """As far as librdkafka's own queue: no broker is there."""
    output = KafkaOutput(port=free_port(), topic=topic, key="{stream}{hostname}")
    output.start()
    producer = output._producer
    assert producer is not None

    def write(deliveries: Sequence[Delivery]) -> None:
        rejected: list[tuple[Delivery, str]] = []
        for delivery in deliveries:
            output._produce(producer, "b/0", delivery, lambda *_: None, rejected)

    yield write
    producer.purge()
    producer.flush(1)


@contextmanager
def lake(_: str, __: Path) -> Iterator[Writes]:
    """It reads the journal itself: see below."""
    yield lambda _: None


OUTPUTS = {
    "http lines": http, "http array": http, "http single": http, "https lines": http, "otlp json": otlp, "otlp protobuf": otlp,
    "file json": file, "file text": file, "file msgpack": file, "file signed": file, "stdout": to_stdout, "zmq json": zmq,
    "zmq msgpack": zmq, "zmq signed": zmq, "udp": udp, "statsd": statsd, "statsd my.prefix": statsd, "kafka metlog": kafka,
    "kafka {type}-{logger}": kafka, "lake": lake,
}  # fmt: skip


@contextmanager
def running(name: str, folder: Path) -> Iterator[Writes]:
    option = name.partition(" ")[2]
    with OUTPUTS[name](option, folder) as write:
        yield write


def test_no_output_is_left_out() -> None:
    builtin = {plugin.name for plugin in installed("output") if plugin.origin.startswith("metlog ")}
    assert builtin == {name.partition(" ")[0] for name in OUTPUTS}


@pytest.fixture(scope="module")
def deliveries() -> list[Delivery]:
    return strange.deliveries_of(strange.strange_lines())


def problems(write: Writes, deliveries: Sequence[Delivery]) -> dict[str, str]:
    """What was raised, each kind with the first event at which it was."""
    found: dict[str, str] = {}
    for delivery in deliveries:
        try:
            write([delivery, delivery])  # sums of two may be too large where one is not
        except Rejected:
            pass
        except Exception as error:
            found.setdefault(f"{type(error).__name__}: {str(error)[:200]}", repr(delivery.event)[:2000])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_strange_events_are_handed_on_or_refused(name: str, deliveries: list[Delivery], tmp_path: Path) -> None:
    with running(name, tmp_path) as write:
        assert problems(write, deliveries) == {}


@pytest.fixture(scope="module")
def any_deliveries() -> list[Delivery]:
    """Of events that are made anew in each run: to make them takes longer than to hand them on, so all outputs get the same ones."""
    found: list[Delivery] = []

    @settings(deadline=None, max_examples=100)
    @given(st.lists(strange.events, max_size=4))
    def run(events: list[dict[str, Any]]) -> None:
        found.extend(strange.deliveries_of(strange.journaled(events)))

    run()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_any_event_is_handed_on_or_refused(name: str, any_deliveries: list[Delivery], tmp_path: Path) -> None:
    with running(name, tmp_path) as write:
        assert problems(write, any_deliveries) == {}


@pytest.mark.slow
@pytest.mark.parametrize("clock", [Clock(), Clock(10**12, 10**12)], ids=["as usual", "every time is true"])
def test_strange_events_become_rows_of_the_lake(clock: Clock) -> None:
    record = strange.record_of(strange.strange_lines())
    bad: list[tuple[bytes, str, str]] = []
    assert sum(len(table) for table in tables([record], clock, Route(), bad=bad)) == record.count
    assert bad == []


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.lists(strange.events, max_size=5))
def test_any_event_becomes_a_row_of_the_lake(events: list[dict[str, Any]]) -> None:
    record = strange.record_of(strange.journaled(events))
    bad: list[tuple[bytes, str, str]] = []
    assert sum(len(table) for table in tables([record], Clock(), Route(), bad=bad)) == len(events)
    assert bad == []
