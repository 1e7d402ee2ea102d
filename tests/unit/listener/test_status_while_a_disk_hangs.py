"""A listener answers how it is while its disk hangs: that is when it is asked."""

from __future__ import annotations

import os
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from metlog.event import Event
from metlog.listener.config import from_mapping
from metlog.listener.service import Service


def get(address: str, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(address + path, timeout=10) as answer:
        return answer.status, answer.read().decode()


@pytest.mark.process
def test_health_and_metrics_answer_while_a_write_to_the_journal_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(from_mapping({}, data=tmp_path / "data", inputs=[{"name": "http", "port": 0}], without={"udp"}))
    service.start()
    hangs, goes_on = threading.Event(), threading.Event()
    real = os.write

    def write(fd: int, content: Any) -> int:
        if b'"type":"slow"' in bytes(content):
            hangs.set()
            assert goes_on.wait(30)
        return real(fd, content)

    try:
        service.sink.submit([Event(type="quick")], "test://")
        monkeypatch.setattr(os, "write", write)
        submission = threading.Thread(target=service.sink.submit, args=([Event(type="slow")], "test://"))
        submission.start()
        assert hangs.wait(10)
        (address,) = service.addresses
        assert get(address, "/healthz")[0] == 200  # nothing is lost yet, and it may go on
        assert "\nmetlog_events_journaled_total 1\n" in get(address, "/metrics")[1]
        assert service.status()["journal"]["segments"] == 1
        goes_on.set()
        submission.join(10)
        assert "\nmetlog_events_journaled_total 2\n" in get(address, "/metrics")[1]
    finally:
        goes_on.set()
        service.stop()
