"""Syslog messages as they are met: both RFCs, their examples, and what real senders make of them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog import plugins
from metlog.errors import ConfigError
from metlog.listener.inputs._syslog import SyslogError, parse
from metlog.listener.inputs.syslog import SyslogInput
from metlog.listener.inputs.tcp import TcpInput
from tests.helpers.sink import FakeSink
from tests.helpers.waiting import wait_for

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def facts(message: bytes, received: datetime = NOW, zone: Any = UTC) -> dict[str, Any]:
    event = parse(message, received, zone)
    return {
        "time": event.timestamp.isoformat().replace("+00:00", "Z"), "severity": event.severity, "host": event.hostname,
        "app": event.logger, "pid": event.pid, "msg": event.payload, "fields": event.fields,
    }  # fmt: skip


RFC5424 = [
    (
        b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8",
        {"time": "2003-10-11T22:14:15.003000Z", "severity": 2, "host": "mymachine.example.com", "app": "su", "pid": 0,
         "msg": "'su root' failed for lonvick on /dev/pts/8", "fields": {"facility": "auth", "msgid": "ID47"}},
    ),
    (
        b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        {"time": "2003-08-24T12:14:15.000003Z", "severity": 5, "host": "192.0.2.1", "app": "myproc", "pid": 8710,
         "msg": "%% It's time to make the do-nuts.", "fields": {"facility": "local4"}},
    ),
    (
        b'<165>1 2003-10-11T22:14:15.003Z h e - ID47 [exampleSDID@32473 iut="3" eventSource="Appl \\"x\\] \\\\"][b@1 k="1" k="2"] msg',
        {"time": "2003-10-11T22:14:15.003000Z", "severity": 5, "host": "h", "app": "e", "pid": 0, "msg": "msg",
         "fields": {"facility": "local4", "msgid": "ID47",
                    "exampleSDID@32473": {"iut": "3", "eventSource": 'Appl "x] \\'}, "b@1": {"k": ["1", "2"]}}},
    ),
    (
        b"<14>1 - - - - - -",
        {"time": "2026-11-28T12:00:00Z", "severity": 6, "host": "", "app": "", "pid": 0, "msg": "", "fields": {"facility": "user"}},
    ),
    (
        b"<14>1 2026-01-01T00:00:00Z h a xy-1 - [broken\n",
        {"time": "2026-01-01T00:00:00Z", "severity": 6, "host": "h", "app": "a", "pid": 0, "msg": "[broken",
         "fields": {"facility": "user", "procid": "xy-1"}},
    ),
]  # fmt: skip

RFC3164 = [
    (
        b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
        {"time": "2026-10-11T22:14:15Z", "severity": 2, "host": "mymachine", "app": "su", "pid": 0, "msg": "'su root' failed",
         "fields": {"facility": "auth"}},
    ),
    (
        b"<13>Feb  5 17:32:18 10.0.0.99 sshd[4711]: Use the BFG!",
        {"time": "2027-02-05T17:32:18Z", "severity": 5, "host": "10.0.0.99", "app": "sshd",
         "pid": 4711, "msg": "Use the BFG!", "fields": {"facility": "user"}},
    ),
    (
        b"<13>Nov 28 11:59:59 local[1]: without a host",
        {"time": "2026-11-28T11:59:59Z", "severity": 5, "host": "", "app": "local", "pid": 1, "msg": "without a host",
         "fields": {"facility": "user"}},
    ),
    (
        b"<30>2026-11-28T11:59:59.123456+01:00 web-1 nginx: forwarded by rsyslog",
        {"time": "2026-11-28T10:59:59.123456Z", "severity": 6, "host": "web-1", "app": "nginx", "pid": 0,
         "msg": "forwarded by rsyslog", "fields": {"facility": "daemon"}},
    ),
    (
        b"<0>no header at all",
        {"time": "2026-11-28T12:00:00Z", "severity": 0, "host": "", "app": "", "pid": 0, "msg": "no header at all",
         "fields": {"facility": "kern"}},
    ),
    (
        b'<13>Nov 28 11:00:00 h app: @cee:{"msg":"text","user":"u1","n":3}',
        {"time": "2026-11-28T11:00:00Z", "severity": 5, "host": "h", "app": "app", "pid": 0, "msg": "text",
         "fields": {"facility": "user", "user": "u1", "n": 3}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), RFC5424 + RFC3164)
def test_a_message_says_what_its_rfc_says(message: bytes, expected: dict[str, Any]) -> None:
    assert facts(message) == expected


def test_a_time_without_a_year_is_of_the_nearest_one() -> None:
    new_year = datetime(2027, 1, 1, 0, 0, 30, tzinfo=UTC)
    assert facts(b"<13>Dec 31 23:59:59 h a: x", new_year)["time"] == "2026-12-31T23:59:59Z"
    old_year = datetime(2026, 12, 31, 23, 59, 50, tzinfo=UTC)
    assert facts(b"<13>Jan  1 00:00:01 h a: x", old_year)["time"] == "2027-01-01T00:00:01Z"
    assert facts(b"<13>Feb 29 00:00:01 h a: x", datetime(2028, 3, 1, tzinfo=UTC))["time"] == "2028-02-29T00:00:01Z"


def test_a_time_without_an_offset_is_of_the_zone_that_is_set() -> None:
    assert facts(b"<13>Jul 28 12:00:00 h a: x", zone=ZoneInfo("Europe/Berlin"))["time"] == "2026-07-28T10:00:00Z"


@pytest.mark.parametrize("message", [b"", b"hello", b"<192>x", b"<-1>x", b"<1", b"13> x", b"\xff\xfe"])
def test_what_has_no_priority_is_refused(message: bytes) -> None:
    with pytest.raises(SyslogError, match="not syslog"):
        parse(message, NOW)


@given(st.binary(max_size=400).map(lambda rest: b"<13>" + rest))
def test_any_message_with_a_priority_is_an_event(message: bytes) -> None:
    assert parse(message, NOW).severity == 5


@given(st.text(alphabet='[]="\\ ab\ud7ff1-', max_size=200))
def test_any_structured_data_is_an_event(text: str) -> None:
    event = parse(f"<13>1 2026-01-01T00:00:00Z h a 1 - {text}".encode(), NOW)
    assert event.hostname == "h"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[..., tuple[SyslogInput, FakeSink]]]:
    started: list[SyslogInput] = []

    def start(**options: Any) -> tuple[SyslogInput, FakeSink]:
        sink = FakeSink()
        made = SyslogInput(port=0, **options)
        made.start(sink)
        started.append(made)
        return made, sink

    yield start
    for made in started:
        made.stop()


def port_of(made: SyslogInput) -> int:
    return int(made.addresses[0].rpartition(":")[2])


def test_udp_and_tcp_share_the_port_that_was_free(listening: Callable[..., tuple[SyslogInput, FakeSink]]) -> None:
    made, sink = listening()
    assert len({address.rpartition(":")[2] for address in made.addresses}) == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"<13>1 - h udp - - - over udp", ("127.0.0.1", port_of(made)))
    with socket.create_connection(("127.0.0.1", port_of(made))) as tcp:
        tcp.sendall(b"28 <13>1 - h tcp - - - over tcp")
    with socket.create_connection(("127.0.0.1", port_of(made))) as tcp:
        tcp.sendall(b"<13>1 - h lines - - - over lines\n")
    wait_for(lambda: len(sink.events) == 3)
    assert {event["payload"] for event in sink.events} == {"over udp", "over tcp", "over lines"}
    assert {source.partition("://")[0] for source in sink.sources} == {"syslog+udp", "syslog+tcp"}


def test_where_another_has_the_free_port_for_tcp_the_next_one_is_tried(
    listening: Callable[..., tuple[SyslogInput, FakeSink]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = TcpInput.take_port, [socket.socket() for _ in range(3)]

    def taken(self: TcpInput, port: int) -> None:
        if others:
            held.append(others.pop())
            held[-1].bind(("127.0.0.1", port))
            held[-1].listen()
        real(self, port)

    held: list[socket.socket] = []
    monkeypatch.setattr(TcpInput, "take_port", taken)
    made, _ = listening()
    assert not others
    assert len({address.rpartition(":")[2] for address in made.addresses}) == 1
    for other in held:
        other.close()


def test_a_unix_socket_takes_what_programs_log(
    listening: Callable[..., tuple[SyslogInput, FakeSink]], tmp_path: Path
) -> None:
    made, sink = listening(transports=[], path=str(tmp_path / "log"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        unix.sendto(b"<13>Nov 28 11:00:00 prog[7]: hello\0", str(tmp_path / "log"))
        unix.sendto(b"nonsense", str(tmp_path / "log"))
    wait_for(lambda: sink.events and sink.dead)
    assert (sink.events[0]["logger"], sink.events[0]["pid"], sink.events[0]["payload"]) == ("prog", 7, "hello")
    assert sink.dead[0][2].startswith("not syslog")
    made.stop()
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"transports": ["sctp"]}, "transports"),
        ({"transports": []}, "path"),
        ({"transports": ["tls"]}, "cert_file"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"type": ""}, "type"),
        ({"path": "x", "mode": "9"}, "mode"),
        ({"port": 70_000}, "port"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        plugins.build("input", {"name": "syslog", **options}, "inputs[0]")
