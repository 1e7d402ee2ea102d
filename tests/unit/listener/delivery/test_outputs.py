"""What outputs may be replaced by while they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metlog.journal.routing import Route
from metlog.listener.delivery.outputs import RunningOutputs
from metlog.listener.delivery.process import OutputProcess
from metlog.listener.delivery.worker import Assignment


def assignment(data: Path, ident: str, **spec: Any) -> Assignment:
    return Assignment(str(data), "main", ident, {"name": "lake", **spec}, Route(), {}, 1 << 20, -1)


@pytest.mark.parametrize("leaving", [False, True])
def test_a_lake_under_a_new_id_waits_for_a_restart_while_the_one_before_writes_to_its_place(
    tmp_path: Path, leaving: bool
) -> None:
    running = RunningOutputs()
    before = assignment(tmp_path, "lake")
    if leaving:
        running.leaving["lake"] = OutputProcess(before)
    else:
        running._assignments = {"lake": before}
    (told,) = running.in_the_way([assignment(tmp_path, "renamed", uri=f"file://{tmp_path}/")])
    assert told == f"outputs.renamed: the lake 'lake' still writes to {tmp_path.resolve()}; keep that id, or restart"
    assert running.in_the_way([before]) == []
    assert running.in_the_way([assignment(tmp_path, "lake", compression="gzip")]) == []
    assert running.in_the_way([assignment(tmp_path, "renamed", uri=f"file://{tmp_path}/other")]) == []
    assert running.in_the_way([assignment(tmp_path, "renamed", name="file", path="x")]) == []
