"""What a listener leaves behind that was ended by SIGTERM: its last status, for whoever looks at the folder afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from tests.helpers.reliability import Client, Listener, datagram, lines
from tests.helpers.waiting import wait_for

Make = Callable[..., Listener]

MORE = """
[[inputs]]
name = "statsd"
port = 0

[[inputs]]
name = "zmq"
endpoint = "tcp://127.0.0.1:*"
"""


def test_after_a_clean_stop_the_status_says_that_it_ended_and_nothing_is_wrong(listener: Make) -> None:
    made = listener(more=MORE)
    assert made.start(), made.told.read_text()
    client = Client(count=10)
    assert client.submit(made.port("http"))
    datagram(made.port("udp"), lines([10]))
    wait_for(lambda: made.metric("metlog_events_journaled_total") == 11)
    assert made.stop() == 0
    status = made.status()
    assert status["running"] is False
    assert status["health"] == []
    assert status["intake"]["journaled"] == 11
    assert status["journal"]["durable_bytes"] == status["journal"]["appended_bytes"]
    assert made.journaled() == []
    said = subprocess.run(
        [sys.executable, "-m", "metlog", "journal", "status", "--data", made.data], capture_output=True, text=True
    )
    assert "does not run" in said.stdout
    assert "died" not in said.stdout + made.told.read_text()
