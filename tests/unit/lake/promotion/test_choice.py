"""Which names get columns: chosen by what is seen or by configuration, durable, and the same for all writers of a data set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.errors import ConfigError
from metlog.journal.failpoints import VARIABLE
from metlog.journal.folder import Folder
from metlog.lake.promotion import choice
from metlog.lake.promotion.choice import MOST, Choice, Promotion
from metlog.lake.promotion.names import check_names
from metlog.lake.storage import FolderStorage, Storage
from tests.helpers.promoted import events_table


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FolderStorage]:
    with Folder.root(tmp_path) as root:
        yield FolderStorage(root)


def choice_in(storage: Storage) -> Choice:
    return Promotion(storage).choice()


def rows(count: int, **made: Any) -> Any:
    """Events of which each field is made by a function of the event's number; `...` is none."""
    fields = [{name: make(n) for name, make in made.items() if make(n) is not ...} for n in range(count)]
    return events_table(fields)


def test_what_most_events_have_is_chosen_and_what_tells_little_is_not(storage: FolderStorage) -> None:
    seen = rows(
        2000,
        user=lambda n: f"u{n % 900}",
        ms=lambda n: n / 8,
        status=lambda n: 200 if n % 3 else 500,
        ok=lambda n: n % 2 == 0,
        id=lambda n: f"id-{n}",
        text=lambda n: "long " * 40 + str(n % 7),
        rare=lambda n: "x" if n % 3 == 0 else ...,
        mixed=lambda n: n if n % 2 else str(n),
        inner=lambda n: {"a": n},
        empty=lambda _: None,
    )
    columns = Promotion(storage, True).file(seen)
    assert sorted(columns.names) == ["ms", "ok", "status", "user"]
    assert sorted(choice_in(storage).names) == ["ms", "ok", "status", "user"]


def test_a_name_of_one_type_of_events_is_chosen(storage: FolderStorage) -> None:
    import pyarrow as pa

    some = pa.concat_tables([
        events_table([{"a": n % 9} for n in range(1800)], type="request"),
        events_table([{"b": n % 9} for n in range(200)], type="login"),
        events_table([{"c": n % 9} for n in range(40)], type="odd"),
    ])  # fmt: skip
    assert Promotion(storage, True).file(some).names == ("a", "b")


def test_few_events_choose_nothing_yet(storage: FolderStorage) -> None:
    assert Promotion(storage, True).file(rows(100, user=lambda n: f"u{n % 9}")).names == ()


def test_the_choice_stays_and_grows_up_to_its_bound(storage: FolderStorage) -> None:
    promotion = Promotion(storage, True)
    assert promotion.file(rows(1000, a=lambda n: n % 9)).names == ("a",)
    assert promotion.file(rows(1000, b=lambda n: n % 9)).names == ("a", "b")
    many = {f"n{number}": lambda n: n % 9 for number in range(20)}
    assert len(promotion.file(rows(1000, **many)).names) == MOST
    assert promotion.file(rows(1000, z=lambda n: n % 9)).names[:2] == ("a", "b")
    assert choice_in(storage).names == list(promotion.choice().names)


def test_another_writer_takes_what_was_chosen(storage: FolderStorage) -> None:
    first = Promotion(storage, True)
    second = Promotion(storage, True)
    assert second.file(rows(1000, b=lambda n: n % 9)).names == ("b",)
    assert first.file(rows(1000, a=lambda n: n % 9)).names == ("b", "a"), "what the other chose is not lost"


def test_writers_that_choose_at_once_agree(tmp_path: Path) -> None:
    def write(number: int) -> None:
        with Folder.root(tmp_path) as root:
            promotion = Promotion(FolderStorage(root), True)
            promotion.file(rows(600, **{f"n{number}": lambda n: n % 9}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Folder.root(tmp_path) as root:
        assert sorted(choice_in(FolderStorage(root)).names) == [f"n{number}" for number in range(6)]


def test_configuration_names_them_or_none(storage: FolderStorage, tmp_path: Path) -> None:
    seen = rows(1000, user=lambda n: f"u{n % 9}")
    assert Promotion(storage, ["route", "id"]).file(seen).names == ("route", "id")
    assert Promotion(storage).file(seen).names == ("route", "id"), "upkeep does as the data set says"
    assert Promotion(storage, False).file(seen).names == ()
    assert Promotion(storage).file(seen).names == ()
    assert Promotion(storage, True).file(seen).names == ("user",)
    assert len(list((tmp_path / "promoted").iterdir())) == 2, "old choices are removed"


def test_a_choice_that_is_damaged_is_made_anew(storage: FolderStorage, tmp_path: Path) -> None:
    (tmp_path / "promoted").mkdir()
    (tmp_path / "promoted" / "00000007.json").write_bytes(b'{"names":["us')
    (tmp_path / "promoted" / ".00000008.json.1.ab.tmp").write_bytes(b"")
    assert Promotion(storage, True).file(rows(1000, user=lambda n: f"u{n % 9}")).names == ("user",)
    assert json.loads((tmp_path / "promoted" / "00000008.json").read_bytes()) == {"names": ["user"], "auto": True}


_PROGRAM = """
import sys
from pathlib import Path
from metlog.journal.folder import Folder
from metlog.lake.promotion import choice
from metlog.lake.promotion.choice import Promotion
from metlog.lake.storage import FolderStorage
from tests.helpers.promoted import events_table
with Folder.root(Path(sys.argv[1])) as root:
    Promotion(FolderStorage(root), True).file(events_table([{"user": f"u{n % 9}"} for n in range(600)]))
"""


@pytest.mark.process
@pytest.mark.parametrize(("point", "chosen"), [("lake.write", False), ("lake.fsync", False), ("lake.sync", True)])
def test_a_writer_that_is_killed_while_it_chooses(
    storage: FolderStorage, tmp_path: Path, point: str, chosen: bool
) -> None:
    program = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    killed = subprocess.run(program, env={**os.environ, VARIABLE: f"{point}=die"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert choice_in(storage).names == (["user"] if chosen else [])
    assert subprocess.run(program, check=True).returncode == 0
    assert choice_in(storage).names == ["user"]
    assert storage.names("promoted", "0") == ["00000001.json"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([""], "'' is no name"),
        (["a", "a"], "'a' stands there 2 times"),
        (["x" * 201], "wants 1 to 200"),
        ([str(n) for n in range(65)], "64 are the most"),
    ],
)
def test_a_list_that_is_none_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_names(names)


def test_the_work_for_a_file_and_what_is_remembered_are_bounded_whatever_names_come(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(choice, "_unique", lambda _, name: bool(looked_at.append(name)) or True)
    monkeypatch.setattr(choice, "_PATIENCE", 5)
    promotion = Promotion(storage, True)
    for file in range(12):
        names = [f"{file}-{number}" for number in range(100)]
        fields = [dict.fromkeys(names, f"id-{n}") for n in range(600)]
        before = len(looked_at)
        promotion.file(events_table(fields))
        assert len(looked_at) - before == choice._LOOKS
        assert len(promotion._passed_over) <= 5 * choice._LOOKS
    again = len(looked_at)
    promotion.file(events_table(fields))
    assert set(looked_at[again:]).isdisjoint(looked_at[:again]), "those behind them have their turn"


def test_of_large_events_a_few_are_looked_at(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    decode = choice._decode
    monkeypatch.setattr(choice, "_decode", lambda lines: bool(sizes.append(len(lines))) or decode(lines))
    monkeypatch.setattr(choice, "_SAMPLE_BYTES", 200_000)
    large = [{"user": f"u{n % 90}", "a": [[]] * 500} for n in range(600)]
    assert Promotion(storage, True).file(events_table(large)).names == ("user",)
    assert sizes
    assert max(sizes) < 201_000


def test_events_too_large_to_look_at_enough_of_them_choose_nothing(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_SAMPLE_BYTES", 200_000)
    larger = [{"user": f"u{n % 90}", "a": [[]] * 2000} for n in range(600)]
    assert Promotion(storage, True).file(events_table(larger)).names == ()
