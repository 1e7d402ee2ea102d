"""The Node.js client against the real listener, and against the Python client."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import metlog
from metlog.lake.query import open_lake
from tests.helpers.listener import Listener, metlog_command
from tests.helpers.waiting import wait_for
from tests.system.node import vectors
from tests.system.node.node_helpers import Node

Listen = Callable[..., Listener]

SENDING = """
import * as metlog from "metlog";
const [url, encoder, count] = process.argv.slice(1);
metlog.configure(url, { logger: "node", encoder });
for (let n = 0; n < Number(count); n += 1) {
  metlog.log(["numbered", "node"], `événement ${n}`, { fields: { n, user: `u${n % 1000}`, ok: n % 2 === 0, ms: n / 8 } });
  // About 20,000 a second: the receive buffer of this machine may be small.
  if (n % 400 === 399) await new Promise((resolve) => setTimeout(resolve, 20));
}
await metlog.close();
console.log(JSON.stringify(metlog.stats()));
"""


@pytest.mark.parametrize(("scheme", "encoder"), [("udp", "json"), ("http", "msgpack")])
def test_100_000_events_arrive_once_each_while_python_sends_too(
    node: Node, listen: Listen, scheme: str, encoder: str
) -> None:
    count = 100_000
    listener = listen("--udp", "127.0.0.1:0", "--http", "127.0.0.1:0")
    url = listener.address(scheme).rstrip("/") + ("/submit/numbered" if scheme == "http" else "")
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        with metlog.MetlogClient.from_config(listener.address("udp"), logger="python") as client:
            while not stop.is_set() and sent < 50_000:
                for _ in range(100):
                    client.log(("numbered", "python"), f"événement {sent}", fields={"n": sent})
                    sent += 1
                time.sleep(0.02)

    python = threading.Thread(target=send)
    python.start()
    try:
        said = node.run(SENDING, url, encoder, str(count))
    finally:
        stop.set()
        python.join()
    assert f'"accepted":{count},"filtered":0,"sent":{count},"buffered":0,"dropped":{{}}' in said
    lake = open_lake(listener.data)
    of_both = "SELECT count(*) FROM events WHERE type = 'numbered'"
    wait_for(lambda: lake.query(of_both).rows == [(count + sent,)], 60)
    n = "CAST(fields->>'n' AS INTEGER)"
    by_logger = (
        f"SELECT logger, count(*), count(DISTINCT {n}), min({n}), max({n}), count(DISTINCT seq), max(seq), count(DISTINCT stream) "
        "FROM events WHERE type = 'numbered' GROUP BY logger ORDER BY logger"
    )
    assert lake.query(by_logger).rows == [
        ("node", count, count, 0, count - 1, count, count, 1),
        ("python", sent, sent, 0, sent - 1, sent, sent, 1),
    ]
    # Each event says what was logged, letter for letter, whichever client and encoder wrote it.
    wrong = (
        "SELECT count(*) FROM events WHERE type = 'numbered' "
        "AND (payload <> 'événement ' || (fields->>'n') OR tokens <> ['numbered', logger])"
    )
    assert lake.query(wrong).rows == [(0,)]
    users = (
        "SELECT count(*), count(DISTINCT fields->>'user') FROM events "
        f"WHERE logger = 'node' AND CAST(fields->>'ms' AS DOUBLE) = {n} / 8"
    )
    assert lake.query(users).rows == [(count, 1000)]
    # Both streams are closed, so that a lost tail would be known.
    ends = "SELECT logger, CAST(fields->>'last_seq' AS INTEGER) FROM events WHERE type = 'metlog.end' ORDER BY logger"
    wait_for(lambda: lake.query(ends).rows == [("node", count), ("python", sent)])


def test_the_report_delivery_sees_what_a_node_client_lost(node: Node, listen: Listen) -> None:
    script = """
import dgram from "node:dgram";
import * as metlog from "metlog";
const client = metlog.configure(process.argv[1], { logger: "node", buffer: { flush_interval: 0 } });
// Each tenth datagram is lost on the way.
const real = dgram.Socket.prototype.send;
let count = 0;
dgram.Socket.prototype.send = function (frame, done) {
  count += 1;
  return count % 10 === 0 ? process.nextTick(done, null) : real.call(this, frame, done);
};
for (let n = 0; n < 1000; n += 1) {
  metlog.log("numbered", "", { fields: { n } });
  if (n % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 5));
}
await client.close();
"""
    listener = listen()
    node.run(script, listener.address("udp"))
    lake = open_lake(listener.data)
    wait_for(
        lambda: lake.query("SELECT count(*) FROM events WHERE type IN ('numbered', 'metlog.end')").rows == [(901,)]
    )
    report = metlog_command("report", "delivery", "--data", str(listener.data), "--format", "csv")
    assert report.returncode == 0, report.stderr
    header, *rows = report.stdout.splitlines()
    (row,) = [dict(zip(header.split(","), row.split(","), strict=False)) for row in rows if row.startswith("node ")]
    assert (row["received"], row["lost"], row["duplicates"], row["ended"]) == ("901", "100", "0", "yes")


def test_the_vectors_are_what_the_python_client_does() -> None:
    """`python tests/system/node/vectors.py` writes them anew."""
    assert vectors.TARGET.read_text("utf-8") == vectors.text()


@pytest.mark.timeout(400)
@pytest.mark.skipif("METLOG_TEST_NODE_CLIENT" in os.environ, reason="clients/node/ci.sh test ran them before")
def test_the_node_clients_own_tests_pass(node: Node, built_client: Path) -> None:
    tests = sorted(map(str, built_client.glob("test/*.test.mjs")))
    assert len(tests) >= 8
    done = subprocess.run(
        [node.path, "--test", *tests], cwd=built_client, capture_output=True, text=True, timeout=380, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
