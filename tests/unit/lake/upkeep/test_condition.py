"""What is wrong with the condition of `metlog forget` is told with its place in the condition."""

from __future__ import annotations

from pathlib import Path

import pytest

from metlog.lake.query import QueryError
from metlog.lake.upkeep.forget import forget
from tests.helpers.reportdata import EVENTS, write


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("nope = 1", "line 1, column 1: there is no column 'nope'"),
        ("severity = 3\n  AND nope = 1", "line 2, column 7: there is no column 'nope'"),
        ("payload <> 'ä' AND getenv('HOME') = ''", "line 1, column 20: function 'getenv'"),
        ("severity =", "line 1, column 11: syntax error at the end of the condition"),
        ("severity = 3 AND\n(type = 'x'", "line 2, column 12: syntax error at the end of the condition"),
        ("severity = 3)", "line 1, column 14: syntax error at the end of the condition"),
        ("severity = 3 4", "line 1, column 14: syntax error at or near \"4\""),
        ("EXISTS (SELECT 1 FROM delivery)", "the condition asks more than the columns of `events`"),
    ],
)  # fmt: skip
def test_the_place_of_a_mistake_is_one_in_the_condition(tmp_path: Path, where: str, told: str) -> None:
    write(tmp_path, EVENTS)
    with pytest.raises(QueryError) as caught:
        forget(tmp_path, where, dry_run=True)
    assert str(caught.value).startswith(told)
