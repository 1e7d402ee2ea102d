"""The attack in short; `python -m tests.system.hostile --seconds 600` is the long one."""

from __future__ import annotations

from pathlib import Path

from tests.system.hostile.run import run


def test_a_good_client_does_not_notice_an_attack_on_everything(tmp_path: Path) -> None:
    found = run(tmp_path, 4, 20120521)
    assert found["wrong"] == [], found
    assert all(found["sent"].get(kind) for kind in ("udp", "statsd", "zmq", "page", "left open")), found
