"""What the network lost, repeated and reordered, against a relay that knows; what the kernel dropped, against the sum."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metlog
from metlog.lake.query import open_lake
from tests.helpers.commands import metlog_here
from tests.helpers.reliability import Listener, datagram
from tests.helpers.waiting import wait_for

Make = Callable[..., Listener]


def command(*arguments: str) -> str:
    done = metlog_here(*arguments)
    # The doctor also looks for a listener at the default address, which is another's business.
    assert done.returncode == 0 or arguments[0] == "doctor", done.stdout + done.stderr
    return done.stdout


class Relay:
    """The relay as a process of its own."""

    def __init__(self, target: int, seed: int) -> None:
        script = Path(__file__).with_name("lossy_relay.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(target), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def end(self) -> dict[str, Counter[str]]:
        output, _ = self.process.communicate(timeout=30)
        return {stream: Counter(counts) for stream, counts in json.loads(output).items()}


def test_a_lossy_path_is_counted_exactly_by_stream_and_minute(listener: Make) -> None:
    made = listener(segment_bytes=65_536)
    assert made.start()
    relay = Relay(made.port("udp"), 20120521)
    for service in ("web", "sync", "jobs"):
        client = metlog.MetlogClient.from_config(
            {
                "logger": service,
                "sender": {"name": "udp", "host": "127.0.0.1", "port": relay.port},
                "buffer": {"max_frame": 1000},
            }
        )
        for n in range(1500):
            client.log("numbered", fields={"n": n})
            if n % 50 == 49:
                client.flush(5)
                time.sleep(0.002)
        client.close()
    time.sleep(0.2)
    expected = relay.end()
    assert len(expected) == 3
    total = sum(expected.values(), Counter())
    assert min(total["lost"], total["repeated"], total["reordered"]) > 100  # it did its work
    arrived = total["events"] - total["lost"] + total["repeated"]
    wait_for(lambda: made.metric("metlog_delivery_received_total") == arrived)
    # The tail of a stream whose end record was dropped is not known to be lost.
    ends = {stream: not counts["end lost"] for stream, counts in expected.items()}

    # Live: over all streams.
    known = {stream: known_loss(counts, ends[stream], made, stream) for stream, counts in expected.items()}
    assert made.metric("metlog_delivery_lost") == sum(known.values())
    assert made.metric("metlog_delivery_repeated_total") == total["repeated"]
    assert made.metric("metlog_delivery_reordered_total") == total["reordered"]
    assert made.metric("metlog_delivery_ended_total") == sum(ends.values())

    # In SQL and in the reports: by stream, and by stream and minute; with some of it in the journal only, and when all is in files.
    for _ in range(2):
        with open_lake(made.data) as lake:
            sql = "SELECT stream, received, lost, duplicates, ended FROM delivery"
            by_stream = {row[0]: row[1:] for row in lake.query(sql).rows}
        found = {row["stream"]: row for row in report("delivery", made)}
        minutes: dict[str, Counter[str]] = defaultdict(Counter)
        for row in report("delivery-by-minute", made):
            assert row["ended"] == ("yes" if ends[row["stream"]] else "unconfirmed tail")
            minutes[row["stream"]].update({key: row[key] for key in ("received", "lost", "repeated", "reordered")})
        for stream, counts in expected.items():
            arrived, lost = counts["events"] - counts["lost"] + counts["repeated"], known[stream]
            assert by_stream[stream] == (arrived, lost, counts["repeated"], ends[stream])
            row = found[stream]
            assert (row["received"], row["lost"], row["duplicates"]) == (
                arrived - counts["repeated"], lost, counts["repeated"],
            )  # fmt: skip
            assert row["ended"] == ("yes" if ends[stream] else "unconfirmed tail")
            assert minutes[stream] == Counter(
                received=arrived, lost=lost, repeated=counts["repeated"], reordered=counts["reordered"]
            )
        if made.alive:
            assert made.stop() == 0
    assert f"{sum(known.values()):,} of" in command("doctor", "--data", str(made.data))


def report(name: str, made: Listener) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(command("report", name, "--data", str(made.data), "--format", "json"))
    return rows


def known_loss(counts: Counter[str], ended: bool, made: Listener, stream: str) -> int:
    """What can be known to be lost of a stream: everything, when its end record came."""
    if ended:
        return counts["lost"]
    with open_lake(made.data) as lake:
        ((last, distinct),) = lake.query(
            "SELECT max(seq), count(DISTINCT seq) FROM events WHERE stream = $stream", {"stream": stream}
        ).rows
    return int(last - distinct)


def test_the_tail_is_lost_where_the_end_record_says_so_and_unknown_without_one(listener: Make) -> None:
    made = listener()
    assert made.start()

    def send(stream: str, *seqs: int, type: str = "a", **fields: Any) -> None:
        events = [{"type": type, "stream": stream, "seq": seq, "logger": stream, "fields": fields} for seq in seqs]
        datagram(made.port("udp"), b"".join(json.dumps(event).encode() + b"\n" for event in events))

    send("whole", 1, 2, 3)
    send("whole", 4, type="metlog.end", last_seq=3, dropped={})
    send("tail", 1, 2)
    send("tail", 6, type="metlog.end", last_seq=5, dropped={"queue_full": 4})
    send("open", 1, 2, 4)
    send("open", 5, type="metlog.report", dropped={"queue_full": 1})
    send("open", 6, type="metlog.report", dropped={"queue_full": 3, "send_error": 2})
    send("late", 4, 5)  # its first three were lost
    wait_for(lambda: made.metric("metlog_delivery_received_total") == 4 + 3 + 5 + 2)
    assert made.metric('metlog_delivery_dropped_by_client_total{reason="queue_full"}') == 4 + 3
    assert made.metric('metlog_delivery_dropped_by_client_total{reason="send_error"}') == 2
    assert made.stop() == 0
    with open_lake(made.data) as lake:
        rows = lake.query("SELECT stream, received, lost, ended, dropped FROM delivery ORDER BY stream").rows
    assert [(*row[:4], json.loads(row[4]) if row[4] else None) for row in rows] == [
        ("late", 2, 0, False, None),
        ("open", 5, 1, False, {"queue_full": 3, "send_error": 2}),
        ("tail", 3, 3, True, {"queue_full": 4}),
        ("whole", 4, 0, True, {}),
    ]
    rows = [row for row in report("delivery", made) if row["stream"] != "open"]
    assert {row["stream"]: (row["lost"], row["before_first"], row["ended"]) for row in rows} == {
        "late": (0, 3, "unconfirmed tail"),  # of another day, or lost: who asks for some days only cannot know
        "tail": (3, 0, "yes"),
        "whole": (0, 0, "yes"),
    }


@pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="the kernel's drops are read from Linux's /proc/net/udp")
def test_what_the_kernel_drops_is_counted_told_and_kept(listener: Make) -> None:
    made = listener(segment_bytes=65_536)
    text = made.config.read_text()
    made.config.write_text(text.replace('name = "udp"\nport = 0', 'name = "udp"\nport = 0\nreceive_buffer = 8192'))
    assert made.start()
    port = made.port("udp")
    os.kill(made.pid, signal.SIGSTOP)
    sent = 3000
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in range(1, sent + 1):
            sock.sendto(b'{"type":"flood","stream":"s","seq":%d}\n' % n, ("127.0.0.1", port))
    os.kill(made.pid, signal.SIGCONT)
    drops = 'metlog_socket_kernel_drops_total{input="udp",socket="0"}'
    taken = 'metlog_input_frames_total{input="udp"}'
    wait_for(lambda: made.metric(drops) > 0 and made.metric(drops) + made.metric(taken) == sent)
    dropped = int(made.metric(drops))
    wait_for(lambda: made.status()["sockets"]["udp"][0]["kernel_drops"] == dropped)
    told = command("doctor", "--data", str(made.data))
    assert f"the kernel dropped {dropped:,} datagrams at udp://127.0.0.1:{port}" in told
    assert re.search(r"raise receive_buffer of the input udp \(it has [\d,]+ bytes", told)
    datagram(port, b'{"type":"flood","stream":"s","seq":%d}\n' % (sent + 1))
    wait_for(lambda: made.metric("metlog_delivery_lost") == dropped)  # the gap, and where it comes from
    assert made.stop() == 0
    with open_lake(made.data) as lake:
        ((fields,),) = lake.query("SELECT fields FROM events WHERE type = 'metlog.drops'").rows
    assert json.loads(fields) == {"input": "udp", "socket": f"udp://127.0.0.1:{port}", "kernel_drops": dropped}
    rows = report("delivery", made)
    assert [row["kernel_drops"] for row in rows if row["stream"] == f"udp://127.0.0.1:{port}"] == [dropped]
    assert [row["lost"] for row in rows if row["stream"] == "s"] == [dropped]
    minutes = report("delivery-by-minute", made)
    assert sum(row["kernel_drops"] or 0 for row in minutes) == sum(row["lost"] or 0 for row in minutes) == dropped
