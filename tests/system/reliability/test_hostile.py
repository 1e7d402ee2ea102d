"""Hostile datagrams, slow clients and bombs at a real listener, in short; `python -m tests.system.reliability.hostile` sends a million."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.reliability import Listener
from tests.system.reliability import hostile


def test_each_of_twelve_thousand_hostile_datagrams_gets_its_verdict(tmp_path: Path) -> None:
    made = Listener(tmp_path / "listener", segment_bytes=16 << 20)
    try:
        found = hostile.run(made, 12_000, 20120521)
    finally:
        made.close()
    assert found["wrong"] == []
    assert found["datagrams"] == 12_000
