"""What outputs may be replaced by while they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.journal.routing import Route
from metlog.listener.delivery.outputs import RunningOutputs
from metlog.listener.delivery.process import OutputProcess
from metlog.listener.delivery.worker import Assignment

AGAIN = (
    "outputs.far: the lake 'lake' has written events that this one takes, and the journal may still hold them: queries would count them"
    " twice; restart when `metlog journal status` shows no output behind"
)


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


@pytest.mark.parametrize(
    ("before", "stays", "far", "refused"),
    [
        ((), ("a",), ("b",), True),
        (("a",), None, (), True),
        (("a", "b"), None, ("b",), True),
        ((), None, ("b",), False),
        (("a",), None, ("a",), False),
        (("a",), ("a",), ("b",), False),
    ],
    ids=["split", "widened", "of two types one", "narrowed", "moved", "of other events"],
)
def test_a_lake_that_would_answer_with_events_of_another_one_is_refused(
    tmp_path: Path, before: tuple[str, ...], stays: tuple[str, ...] | None, far: tuple[str, ...], refused: bool
) -> None:
    def lake(ident: str, types: tuple[str, ...], **spec: Any) -> Assignment:
        return msgspec.structs.replace(assignment(tmp_path, ident, **spec), route=Route(types=types))

    running = RunningOutputs()
    running._assignments = {"lake": lake("lake", before)}
    kept = [lake("lake", stays)] if stays is not None else []
    elsewhere = lake("far", far, uri=f"file://{tmp_path}/other")
    told = running.in_the_way([*kept, elsewhere])
    assert told == [AGAIN] * refused
    assert running.in_the_way([*kept, msgspec.structs.replace(elsewhere, answers=False)]) == []
    running._assignments["far"] = elsewhere
    assert running.in_the_way([*kept, elsewhere]) == []
