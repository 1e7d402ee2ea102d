"""The soak in short; `python -m tests.system.reliability.soak --kills 200` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.reliability.soak import Soak


@pytest.mark.timeout(300)
def test_killed_again_and_again_two_chained_listeners_lose_and_double_nothing(tmp_path: Path) -> None:
    soak = Soak(tmp_path, 20120521)
    try:
        found = soak.run(6)
    finally:
        soak.close()
    assert found["wrong"] == []
    assert found["kills"] >= 6
    assert found["acknowledged"] > 100
    assert found["over UDP"] > 100
