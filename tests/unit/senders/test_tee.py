"""`tee` over real transports: every branch has its own encoder, filters and buffer, and none suffers from another."""

from __future__ import annotations

from pathlib import Path

import pytest

from metlog import MetlogClient
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.event import Event
from metlog.testing.peers import DatagramPeer, StreamPeer, closed_port
from tests.helpers.waiting import wait_for

KEY = "k" * 32


def own(events: list[Event]) -> list[tuple[str, dict[str, object]]]:
    return [(event.type, event.fields) for event in events if not event.type.startswith("metlog.")]


def test_each_branch_has_its_encoder_its_filters_and_its_frames(tmp_path: Path) -> None:
    with DatagramPeer() as datagrams, StreamPeer() as stream:
        signed = {"name": "signed", "key": KEY, "encoder": "json"}
        client = MetlogClient.from_config({
            "filters": [{"name": "type_deny", "types": ["noise"]}],
            "sender": {"name": "tee", "senders": [
                {"sender": f"udp://127.0.0.1:{datagrams.port}", "encoder": "msgpack", "buffer": {"flush_interval": 0}},
                {"sender": f"tcp://127.0.0.1:{stream.port}", "filters": [{"name": "severity_max", "severity": 3}]},
                {"sender": f"file:{tmp_path}/audit", "encoder": signed, "filters": [
                    {"name": "type_allow", "types": ["login"]}, {"name": "redact", "drop": ["password"]}]},
                {"sender": f"file:{tmp_path}/log", "encoder": "text"},
            ]},
        })  # fmt: skip
        for kind, severity in (("login", 6), ("noise", 0), ("disk", 2), ("login", 3)):
            client.log(kind, severity=severity, fields={"password": "s3cret", "n": severity})
        assert client.flush(5)
        whole = {"password": "s3cret"}
        wait_for(lambda: len(datagrams.frames) >= 3)
        assert own([event for frame in datagrams.frames for event in MsgpackEncoder().decode(frame)]) == [
            ("login", {**whole, "n": 6}), ("disk", {**whole, "n": 2}), ("login", {**whole, "n": 3}),
        ]  # fmt: skip
        assert len(datagrams.frames) == 3  # its own buffer: an event a frame
        wait_for(lambda: stream.data.count(b"\n") >= 2)
        assert own(JsonEncoder().decode(bytes(stream.data))) == [
            ("disk", {**whole, "n": 2}),
            ("login", {**whole, "n": 3}),
        ]
        audit = (tmp_path / "audit").read_bytes()
        assert own(SignedEncoder(key=KEY).decode(audit)) == [("login", {"n": 6}), ("login", {"n": 3})]
        assert b"s3cret" not in audit
        lines = (tmp_path / "log").read_text().splitlines()
        assert [line.split()[2].rstrip(":") for line in lines] == ["login", "disk", "login"]
        client.close()


@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_a_branch_that_cannot_send_costs_the_others_nothing(scheme: str, tmp_path: Path) -> None:
    dead = f"{scheme}://127.0.0.1:{closed_port()}?timeout=30"
    told: list[int] = []
    client = MetlogClient.from_config(
        sender={"name": "tee", "senders": [dead, f"file:{tmp_path}/log"]},
        exit_timeout=0.2,
        on_drop=lambda reason, count: told.append(count),
    )
    for number in range(100):
        client.log("a", fields={"n": number})
    wait_for(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_bytes().count(b"\n") == 100)
    client.close()
    stats = client.stats()
    assert stats.accepted == 200
    assert stats.sent == 100
    assert sum(stats.dropped.values()) == sum(told) == 100


def test_events_of_metlogs_own_in_a_branch_say_which_service_they_are_of() -> None:
    tee = {"name": "tee", "senders": ["memory:", {"sender": {"name": "tee", "senders": ["memory:"]}}]}
    client = MetlogClient.from_config(sender=tee, logger="shop", hostname="h7")
    client.log("a")
    first, second = client.branches[0], client.branches[1].branches[0]  # type: ignore[attr-defined]
    client.close()
    for branch in (first, second):
        assert [(event.type, event.logger, event.hostname) for event in branch.sender.events] == [  # type: ignore[attr-defined]
            ("a", "shop", "h7"), ("metlog.end", "shop", "h7"),
        ]  # fmt: skip
