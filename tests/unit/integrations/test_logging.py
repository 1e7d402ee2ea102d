"""The stdlib handler: what an event gets from a record, and that it can sit on the root logger with the peer down."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metlog
from metlog import Event, MetlogClient
from metlog.integrations._common import OWN_THREADS
from metlog.integrations.logging import MetlogHandler
from tests.helpers.ports import free_port

SENDING = ("core", "config", "plugins", "statsd", "encoders", "senders", "filters", "integrations")


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:", logger="svc")
    yield made
    made.close()


@pytest.fixture
def log(client: MetlogClient) -> Iterator[logging.Logger]:
    logger = logging.getLogger("shop.stock")
    handler = MetlogHandler(client=client)
    logger.addHandler(handler)
    logger.setLevel(1)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def events(client: MetlogClient) -> list[Event]:
    assert client.flush(5)
    return list(client.sender.events)


def one(client: MetlogClient) -> Event:
    found = events(client)
    assert len(found) == 1
    return found[0]


def test_a_record_becomes_an_event_with_its_attributes(log: logging.Logger, client: MetlogClient) -> None:
    log.warning("stock of %s is %d", "pears", 3)
    event = one(client)
    assert (event.type, event.tokens, event.logger) == ("oldstyle", ("oldstyle", "shop.stock"), "svc")
    assert (event.severity, event.payload) == (4, "stock of pears is 3")
    fields = event.fields
    assert fields["logger_name"] == "shop.stock"
    assert fields["level"] == "WARNING"
    assert fields["pathname"] == __file__
    assert fields["func"] == "test_a_record_becomes_an_event_with_its_attributes"
    assert isinstance(fields["lineno"], int)
    assert fields["thread"] == "MainThread"
    assert fields["process"] == "MainProcess"


@pytest.mark.parametrize(
    ("level", "severity"), [(5, 7), (10, 7), (20, 6), (24, 6), (25, 5), (30, 4), (40, 3), (50, 2), (60, 2)]
)
def test_levels_are_severities(log: logging.Logger, client: MetlogClient, level: int, severity: int) -> None:
    log.log(level, "x")
    assert one(client).severity == severity


def test_extra_is_fields_of_its_own(log: logging.Logger, client: MetlogClient) -> None:
    log.info("x", extra={"user": "u1", "items": [1, 2]})
    fields = one(client).fields
    assert fields["user"] == "u1"
    assert fields["items"] == [1, 2]
    assert "args" not in fields
    assert "msecs" not in fields


def test_exc_info_and_stack_info(log: logging.Logger, client: MetlogClient) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed", stack_info=True)
    event = one(client)
    assert event.severity == 3
    assert event.fields["exception_type"] == "ValueError"
    assert event.fields["exception_message"] == "broken"
    assert "test_exc_info_and_stack_info" in event.fields["traceback"]
    assert "test_exc_info_and_stack_info" in event.fields["stack"]


def test_a_message_without_arguments_is_never_formatted(log: logging.Logger, client: MetlogClient) -> None:
    log.info("100% {done}")
    assert one(client).payload == "100% {done}"


def test_arguments_that_do_not_fit_cost_no_record(log: logging.Logger, client: MetlogClient) -> None:
    log.handlers = [
        handler for handler in log.handlers if isinstance(handler, MetlogHandler)
    ]  # pytest's own would raise
    log.info("%d apples", "many")
    event = one(client)
    assert event.payload == "many apples"
    assert "many" in event.fields["metlog.format_error"]


def test_a_formatter_makes_the_payload(client: MetlogClient) -> None:
    handler = MetlogHandler(client=client)
    handler.setFormatter(logging.Formatter("%(name)s | %(message)s"))
    handler.handle(logging.makeLogRecord({"name": "a", "msg": "b", "levelno": 20}))
    assert one(client).payload == "a | b"


def test_level_and_filters_are_kept(client: MetlogClient) -> None:
    handler = MetlogHandler("WARNING", client)
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    logger = logging.getLogger("test.level")
    logger.addHandler(handler)
    logger.propagate = False
    logger.info("below")
    logger.warning("secret")
    logger.warning("told")
    logger.removeHandler(handler)
    assert [event.payload for event in events(client)] == ["told"]


def test_what_severity_max_refuses_is_not_formatted() -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("it was formatted")

    client = MetlogClient.from_config("memory:", filters=[{"name": "severity_max", "severity": 4}])
    MetlogHandler(client=client).handle(
        logging.makeLogRecord({"name": "a", "msg": "%s", "args": (Costly(),), "levelno": 20, "levelname": "INFO"})
    )
    assert client.stats().filtered == 1
    client.close()


def test_dict_config() -> None:
    named = metlog.get_client("dict.config.test").configure("memory:")
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "events": {
                "class": "metlog.integrations.logging.MetlogHandler", "level": "INFO", "client": "dict.config.test",
            },
        },
        "loggers": {"configured": {"handlers": ["events"], "level": "DEBUG", "propagate": False}},
    })  # fmt: skip
    logging.getLogger("configured").debug("no")
    logging.getLogger("configured").info("yes")
    logging.getLogger("configured").handlers.clear()
    assert one(named).payload == "yes"
    named.close()


def test_a_client_of_another_kind_is_refused_at_once() -> None:
    with pytest.raises(metlog.ConfigError, match="client = 7: wants a MetlogClient"):
        MetlogHandler(client=7)  # type: ignore[arg-type]


def test_through_a_queue_handler_the_traceback_arrives_as_text(client: MetlogClient) -> None:
    records: queue.Queue[Any] = queue.Queue()
    through = logging.handlers.QueueHandler(records)
    logger = logging.getLogger("test.queued")
    logger.addHandler(through)
    logger.propagate = False
    try:
        raise KeyError("k")
    except KeyError:
        logger.exception("failed")
    logger.removeHandler(through)
    MetlogHandler(client=client).handle(records.get_nowait())
    event = one(client)
    assert "KeyError" in event.fields.get("traceback", event.payload)


@pytest.mark.parametrize("name", ["metlog", "metlog.senders"])
def test_the_logger_metlog_is_left_alone(client: MetlogClient, name: str) -> None:
    MetlogHandler(client=client).handle(logging.makeLogRecord({"name": name, "msg": "x", "levelno": 40}))
    assert events(client) == []


def test_records_of_metlog_s_own_threads_are_left_alone(client: MetlogClient) -> None:
    """Every thread that the sending side starts has a name of its own, and the handler knows all of them."""
    package = Path(metlog.__file__).parent
    sending = [*package.glob("*.py"), *(path for folder in SENDING for path in (package / folder).rglob("*.py"))]
    sources = [path.read_text("utf-8") for path in sending]
    named = [
        name for text in sources for name in re.findall(r'(?:Thread\([^\n]*name=|Worker\([^\n"]*)"([^"\n]+)"', text)
    ]
    started = sum(text.count("threading.Thread(") + text.count(" Worker(") for text in sources)
    assert len(named) == started - 1, "the one in `Worker` has the name that `Worker` was given"
    names = set(named)
    assert names == OWN_THREADS
    handler = MetlogHandler(client=client)
    for name in sorted(names):
        thread = threading.Thread(
            target=lambda: handler.handle(logging.makeLogRecord({"msg": "x", "levelno": 20})), name=name
        )
        thread.start()
        thread.join(10)
    handler.handle(logging.makeLogRecord({"msg": "seen", "levelno": 20}))
    assert one(client).payload == "seen"


def test_a_logger_with_a_similar_name_is_not(client: MetlogClient) -> None:
    MetlogHandler(client=client).handle(logging.makeLogRecord({"name": "metlogger", "msg": "x", "levelno": 40}))
    assert one(client).payload == "x"


class LogsWhileItSends:
    """A sender over a library that logs at DEBUG, as HTTP and Kafka clients do."""

    max_frame = 8192

    def __init__(self, *, nonblocking: bool, fails: bool) -> None:
        self.nonblocking, self.fails = nonblocking, fails
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        logging.getLogger("library").debug("sending %d bytes", len(frame))
        self.frames.append(frame)
        if self.fails:
            raise ConnectionRefusedError("nobody there")

    def flush(self) -> None:
        logging.getLogger("library").debug("flushing")

    def close(self) -> None:
        logging.getLogger("library").debug("closing")


@pytest.mark.parametrize("nonblocking", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_on_the_root_at_debug_a_sender_that_logs_does_not_feed_itself(
    monkeypatch: pytest.MonkeyPatch, nonblocking: bool, fails: bool
) -> None:
    sender = LogsWhileItSends(nonblocking=nonblocking, fails=fails)
    client = MetlogClient.from_config("memory:", buffer={"flush_interval": 0.01})
    # the same pipeline over another sender
    from metlog.config import plan
    from metlog.plugins import Component

    made = plan({"sender": "memory:", "buffer": {"flush_interval": 0.01}})
    made.sender = Component("sender", "test", "sender", lambda: sender, {})
    client._state.use(made.pipeline())
    root = logging.getLogger()
    handler = MetlogHandler(client=client)
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    logging.getLogger("app").info("the only one")
    for _ in range(200):
        client.log("app", "x" * 200)  # enough for frames that this very thread sends
    end = time.monotonic() + 0.2
    while time.monotonic() < end:  # rounds of the flusher, in which a feedback would show
        time.sleep(0.01)
    assert client.stats().accepted == 201
    client.close()
    closed = client.stats().accepted
    assert closed <= 203  # a library may tell of a flush and a close that the application itself asked for
    logging.getLogger("app").info("after close")  # counted, nothing raised
    assert client.stats().accepted == closed


def test_on_the_root_at_debug_with_a_udp_peer_down(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port(socket.SOCK_DGRAM)
    client = MetlogClient.from_config(f"udp://127.0.0.1:{port}", buffer={"flush_interval": 0.01})
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [MetlogHandler(client=client)])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    for _ in range(5):
        logging.getLogger("app").info("x")
        client.flush(5)
    assert client.stats().accepted == 5
    assert client.sender.stats()["refused"] >= 1
    client.close()


def test_on_the_root_at_debug_with_the_http_sender_whose_library_logs_each_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("httpx")
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    spoken: list[logging.LogRecord] = []
    spy = logging.Handler()
    spy.emit = spoken.append  # type: ignore[method-assign]
    root = logging.getLogger()
    client = MetlogClient.from_config(
        {"sender": f"http://127.0.0.1:{server.server_port}/?compression=none", "buffer": {"flush_interval": 0.01}}
    )
    monkeypatch.setattr(root, "handlers", [MetlogHandler(client=client), spy])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    try:
        for number in range(5):
            logging.getLogger("app").info("record %d", number)
            assert client.flush(10)
        assert any(record.name.startswith("http") for record in spoken)  # the library did log
        assert client.stats().accepted == 5
    finally:
        client.close()
        server.shutdown()
        thread.join(10)
        server.server_close()
    assert b"".join(bodies).count(b"record ") == 5


def test_a_message_that_logs_from_its_own_text_ends(log: logging.Logger, client: MetlogClient) -> None:
    class Chatty:
        def __str__(self) -> str:
            log.info("from within")
            return "chatty"

    log.handlers = [handler for handler in log.handlers if isinstance(handler, MetlogHandler)]  # pytest's own asks too
    log.info("%s", Chatty())
    assert [event.payload for event in events(client)] == ["chatty"]


def test_a_handler_never_raises(log: logging.Logger, client: MetlogClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken")

    told: list[logging.LogRecord] = []
    (handler,) = (handler for handler in log.handlers if isinstance(handler, MetlogHandler))
    monkeypatch.setattr("metlog.integrations.logging.log_direct", broken)
    monkeypatch.setattr(handler, "handleError", told.append)
    log.info("x")
    assert [record.getMessage() for record in told] == ["x"]  # told the way of stdlib logging
    monkeypatch.undo()
    assert client.stats().dropped == {"call_error": 1}  # and counted
    log.info("y")  # and the next record is sent
    client.flush(5)
    assert [event.payload for event in client.sender.events if event.type == "oldstyle"] == ["y"]


def test_a_formatter_of_another_handler_leaves_no_fields(log: logging.Logger, client: MetlogClient) -> None:
    stream = logging.StreamHandler(io.StringIO())
    stream.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.handlers.insert(0, stream)  # it sets `message` and `asctime` on the record
    log.info("x", extra={"user": "u1"})
    log.handlers.remove(stream)
    fields = one(client).fields
    assert "message" not in fields
    assert "asctime" not in fields
    assert fields["user"] == "u1"


def test_records_of_another_make_keep_what_is_their_own(client: MetlogClient) -> None:
    class Record(logging.LogRecord):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.tenant = "t1"  # before the attributes that every record has
            super().__init__(*args, **kwargs)

    MetlogHandler(client=client).handle(Record("a", 20, "a.py", 1, "x", (), None))
    fields = one(client).fields
    assert fields["tenant"] == "t1"
    assert set(fields) - {"task"} == {
        "tenant",
        "logger_name",
        "level",
        "pathname",
        "lineno",
        "func",
        "thread",
        "process",
    }


def test_context_and_bound_fields_are_on_the_event(client: MetlogClient) -> None:
    handler = MetlogHandler(client=client.bind(region="eu"))
    with metlog.context(request_id="r1"):
        handler.handle(logging.makeLogRecord({"name": "a", "msg": "x", "levelno": 20}))
    fields = one(client).fields
    assert (fields["region"], fields["request_id"]) == ("eu", "r1")


def test_many_threads_log_without_a_common_lock(log: logging.Logger, client: MetlogClient) -> None:
    threads = [threading.Thread(target=lambda: [log.info("x") for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(events(client)) == 400


def test_a_plain_message_and_one_with_arguments_get_the_same_fields(log: logging.Logger, client: MetlogClient) -> None:
    for message, args in (("stock is low", ()), ("stock is %s", ("low",))):
        log.warning(
            message, *args, extra={"left": 3, "user": "u1", "items": [1]} if args else {"left": 3, "user": "u1"}
        )
    plain, filled = events(client)
    assert plain.payload == filled.payload
    assert (plain.severity, plain.tokens) == (filled.severity, filled.tokens)
    assert filled.fields == {**plain.fields, "items": [1]}


def test_what_calls_of_one_place_share_is_not_changed_by_one_of_them(client: MetlogClient) -> None:
    handler = MetlogHandler(client=client)
    same: dict[str, Any] = {"name": "a", "msg": "x", "levelno": 20, "levelname": "INFO", "lineno": 7}
    for record in (
        logging.makeLogRecord({**same, "pathname": "mine"}),
        logging.makeLogRecord({**same, "logger_name": "other", "n": [1]}),
        logging.makeLogRecord({**same, "levelno": 40, "exc_text": "trace"}),
        logging.makeLogRecord(same),
        logging.makeLogRecord({**same, "name": ["no", "text"]}),
        logging.makeLogRecord({**same, "lineno": float("nan")}),
    ):
        handler.handle(record)
    mine, other, failed, again, odd, numberless = events(client)
    assert mine.fields["pathname"] == "mine"
    assert (other.fields["logger_name"], other.fields["n"]) == ("other", [1])
    assert (failed.severity, failed.fields["traceback"]) == (3, "trace")
    assert again.fields == {**mine.fields, "pathname": again.fields["pathname"]}
    assert again.fields["pathname"] != "mine"
    assert odd.tokens == ("oldstyle", "['no', 'text']")
    assert numberless.fields["lineno"] is None


def test_places_made_at_run_time_do_not_fill_the_memory(client: MetlogClient) -> None:
    from metlog.integrations import logging as module

    handler = MetlogHandler(client=client)
    for number in range(10_000):
        handler.handle(logging.makeLogRecord({"name": f"n{number}", "msg": "x", "levelno": 20}))
    assert len(module._sites) <= 4096
    assert len({event.tokens for event in events(client)}) == 10_000


def test_a_child_forked_inside_a_record_logs_on(client: MetlogClient) -> None:
    handler = MetlogHandler(client=client)
    inside = threading.Event()
    done = threading.Event()

    class Slow:
        def __str__(self) -> str:
            inside.set()
            done.wait(10)
            return "slow"

    thread = threading.Thread(
        target=lambda: handler.handle(logging.makeLogRecord({"msg": "%s", "args": (Slow(),), "levelno": 20}))
    )
    thread.start()
    assert inside.wait(10)
    from metlog.integrations import logging as module

    assert module._inside == {thread.ident}
    pid = os.fork()
    if pid == 0:
        os._exit(len(module._inside))  # that thread is not in the child
    assert os.waitpid(pid, 0)[1] == 0
    done.set()
    thread.join(10)
    assert module._inside == set()
    assert one(client).payload == "slow"


def test_what_extra_says_goes_before_what_an_exception_says(log: logging.Logger, client: MetlogClient) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed", extra={"traceback": "mine"})
    fields = one(client).fields
    assert (fields["traceback"], fields["exception_type"]) == ("mine", "ValueError")


def test_a_filter_of_a_subclass_is_asked(client: MetlogClient) -> None:
    class Mine(MetlogHandler):
        def filter(self, record: logging.LogRecord) -> bool:  # type: ignore[override]
            return record.getMessage() != "no"

    handler = Mine(client=client)
    for message in ("no", "yes"):
        handler.handle(logging.makeLogRecord({"msg": message, "levelno": 20}))
    assert one(client).payload == "yes"


def test_extra_keeps_its_order(log: logging.Logger, client: MetlogClient) -> None:
    names = [f"name{number}" for number in (3, 1, 4, 15, 9, 2, 6)]
    log.info("x", extra=dict.fromkeys(names, 1))
    assert [name for name in one(client).fields if name in names] == names
