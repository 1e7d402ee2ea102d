"""Which of several lakes answer queries over the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metlog.listener.config import ListenerConfig, from_mapping

A, B = {"types": ["a"]}, {"types": ["b"]}
ELSEWHERE, FURTHER = {"uri": "file:///elsewhere"}, {"uri": "file:///further"}


def config(data: Path, *lakes: dict[str, Any]) -> ListenerConfig:
    outputs = [{"name": "lake", "id": f"lake{n}", **lake} for n, lake in enumerate(lakes)]
    return from_mapping({"listener": {"data": str(data)}, "outputs": outputs})


@pytest.mark.parametrize(
    ("lakes", "answer", "uri"),
    [
        ([{}], {"lake0"}, ""),
        ([ELSEWHERE], {"lake0"}, "file:///elsewhere"),
        ([{}, ELSEWHERE], {"lake0"}, ""),
        ([ELSEWHERE, {}], {"lake1"}, ""),
        ([ELSEWHERE, FURTHER], {"lake0"}, "file:///elsewhere"),
        ([ELSEWHERE | A, FURTHER | B], {"lake0"}, "file:///elsewhere"),
        ([A, ELSEWHERE | B], {"lake0", "lake1"}, "file:///elsewhere"),
        ([A, ELSEWHERE, FURTHER | B], {"lake0", "lake2"}, "file:///further"),
        ([{"tokens": ["a"]}, ELSEWHERE | {"tokens": ["b"]}], {"lake0"}, ""),
        ([{"severity_max": 3}, ELSEWHERE | B], {"lake0"}, ""),
    ],
)
def test_no_event_goes_to_two_that_answer(
    lakes: list[dict[str, Any]], answer: set[str], uri: str, tmp_path: Path
) -> None:
    found = config(tmp_path, *lakes).lakes
    assert (set(found.answer), found.uri, len(found.told)) == (answer, uri, len(lakes) - len(answer))


def test_a_lake_that_does_not_answer_is_told_with_the_reason(tmp_path: Path) -> None:
    assert config(tmp_path, A, ELSEWHERE, FURTHER | B, {"uri": "file:///third", "types": ["c"]}).lakes.told == (
        f"outputs.lake1: queries over {tmp_path} do not read this lake, for it may take events that the lake 'lake0' takes;"
        " ask it by --data file:///elsewhere",
        f"outputs.lake3: queries over {tmp_path} do not read this lake, for they read one lake elsewhere, 'lake2';"
        " ask it by --data file:///third",
    )


def test_a_uri_of_the_data_folder_is_the_data_folder(tmp_path: Path) -> None:
    found = config(tmp_path, {"uri": f"file://{tmp_path}/../{tmp_path.name}"}, ELSEWHERE)
    assert (set(found.lakes.answer), found.lakes.uri, found.where) == ({"lake0"}, "", str(tmp_path))


def test_the_data_folder_may_be_given_as_a_uri(tmp_path: Path) -> None:
    assert from_mapping({}, data=f"file://{tmp_path}/a%20b").general.data == tmp_path / "a b"
