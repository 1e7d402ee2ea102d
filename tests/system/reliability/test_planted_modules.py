"""A listener that is started in a folder of somebody else's, such as /tmp, imports nothing from there, nor do its processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metlog.journal.segment import Record
from metlog.lake.careful import fatal
from tests.helpers.reliability import Client, Listener, in_lake
from tests.helpers.waiting import eventually

Make = Callable[..., Listener]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that modules write which lie in the working folder."""
    folder, mark = tmp_path / "shared", tmp_path / "imported"
    folder.mkdir()
    for name in ("metlog", "msgspec", "pyarrow", "duckdb", "stevedore", "runpy", "random", "logging", "types"):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\nraise ImportError('planted')\n")
    monkeypatch.chdir(folder)
    return mark


def test_the_processes_of_outputs_import_nothing_from_the_working_folder(listener: Make, planted: Path) -> None:
    made = listener()
    made.program = ["-P", "-m", "metlog"]  # as the installed command
    client = Client()
    assert made.start()
    assert client.submit(made.port("http"))
    assert eventually(lambda: client.acknowledged == {n for n, _ in in_lake(made.data)}), made.told.read_text()
    assert made.stop() == 0
    assert not planted.exists(), planted.read_text()


def test_nor_does_the_process_in_which_an_event_is_tried(planted: Path) -> None:
    good = Record(0, 0, 1_790_000_000_000_000, 1, "udp://10.0.0.1", "", b'{"type":"a"}\n')
    assert not list(fatal([good], 1 << 20))
    assert not planted.exists(), planted.read_text()
