"""A listener with lakes in different places: a query over the data folder counts each event once, at every moment."""

from __future__ import annotations

import json
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from metlog.journal.cursor import Cursor
from metlog.journal.folder import Folder
from metlog.journal.segment import listing
from metlog.lake.query import Lake
from tests.helpers.commands import metlog_here
from tests.helpers.listener import Listener
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for

CONFIG = """
[listener]
drain_timeout = 20
[journal]
segment_age = {age}
[[inputs]]
name = "udp"
port = 0
[[outputs]]
name = "lake"
id = "far"
uri = "file://{folder}/elsewhere"
{far}
{near}
"""
BEHIND = '[[outputs]]\nname = "http"\nhost = "127.0.0.1"\nport = 9\n'
"""Nobody is there: the journal keeps all its segments."""
NEAR = '[[outputs]]\nname = "lake"\n'


class Started:
    def __init__(self, folder: Path, text: str = CONFIG, **facts: str) -> None:
        self.folder, self.data = folder, folder / "data"
        self.configure(text, **facts)
        self.begin()

    def begin(self) -> None:
        self.listener = Listener(self.data, "--config", str(self.folder / "listener.toml"))
        self.described()

    def described(self) -> None:
        wait_for(lambda: all(out.get("describe") for out in self.listener.status()["outputs"].values()))

    def go_over(self, text: str, *, reload: bool, **facts: str) -> None:
        """To another configuration, by a signal or by a restart."""
        self.configure(text, **facts)
        if reload:
            self.listener.process.send_signal(signal.SIGHUP)
            wait_for(lambda: self.listener.status()["reloads"]["done"] == 1)
            self.described()
        else:
            self.listener.stop()
            self.begin()

    def configure(self, text: str, **facts: str) -> None:
        (self.folder / "listener.toml").write_text(text.format(folder=self.folder, **facts))

    def cursor(self, output: str) -> Cursor | None:
        with Folder.root(self.data / "journal" / "main" / "cursors") as cursors:
            return Cursor.load(cursors, output)

    def committed(self, output: str) -> bool:
        """Whether the lake is past all that has come."""
        cursor = self.cursor(output)
        with Folder.root(self.data / "journal" / "main") as journal:
            sealed, active = listing(journal)
        return cursor is not None and not active and cursor.at.number > max(segment.number for segment in sealed)

    def send(self, count: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n in range(count):
                sock.sendto(
                    json.dumps({"type": "ab"[n % 2]}).encode(), ("127.0.0.1", port_of(self.listener.addresses[0]))
                )

    def counted(self, data: Path | None = None) -> dict[str, int]:
        with closing(Lake(data or self.data)) as lake:
            return dict(lake.query("SELECT type, count(*) FROM events GROUP BY type").rows)

    def files(self, name: str) -> bool:
        return any((self.folder / name / "events").glob("date=*/*.parquet"))


@pytest.mark.parametrize("age", ["0.5", "600"])
@pytest.mark.parametrize(
    ("near", "far", "elsewhere"),
    [
        (NEAR, "", {"a": 5, "b": 5}),
        (NEAR + 'types = ["a", "b"]', 'types = ["b"]', {"b": 5}),
        (NEAR + 'types = ["a"]', 'types = ["b"]', {"b": 5}),
        ("", "", {"a": 5, "b": 5}),
    ],
)
def test_each_event_is_counted_once(near: str, far: str, elsewhere: dict[str, int], age: str, tmp_path: Path) -> None:
    started = Started(tmp_path, near=near, far=far, age=age)
    try:
        started.send(10)
        wait_for(lambda: started.counted() == {"a": 5, "b": 5})
        if age == "0.5":
            wait_for(lambda: started.files("elsewhere") and (not near or started.files("data")))
            for _ in range(5):  # while one lake is further than the other one, and after it
                assert started.counted() == {"a": 5, "b": 5}
                time.sleep(0.05)
    finally:
        assert started.listener.stop() == 0
    assert started.counted() == {"a": 5, "b": 5}
    assert started.counted(tmp_path / "elsewhere") == elsewhere


def test_a_lake_that_does_not_answer_is_named(tmp_path: Path) -> None:
    started = Started(tmp_path, near=NEAR, far="", age="600")
    told = "queries over {} do not read this lake, for it may take events that the lake 'lake' takes"
    try:
        file = str(tmp_path / "listener.toml")
        checked = metlog_here("listen", "--check", "--config", file, "--data", str(started.data))
        assert told.format(started.data) in checked.stdout
        assert "no query over the data folder reads them" in metlog_here("status", "--data", str(started.data)).stdout
        assert not (started.data / "lake.json").exists()
    finally:
        started.listener.stop()


def test_a_lake_whose_uri_is_the_data_folder_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "elsewhere")
    started = Started(tmp_path, near="", far="", age="600")
    try:
        started.send(10)
        wait_for(lambda: started.counted() == {"a": 5, "b": 5})
    finally:
        started.listener.stop()
    assert started.counted() == {"a": 5, "b": 5}


def lakes(text: str) -> str:
    text = CONFIG.partition('[[outputs]]\nname = "lake"')[0] + BEHIND + text
    return text.replace("drain_timeout = 20", "drain_timeout = 1")  # nobody takes what BEHIND would send


FAR = '[[outputs]]\nname = "lake"\nid = "far"\nuri = "file://{folder}/elsewhere"\n'


@pytest.mark.parametrize("reload", [False, True])
def test_a_lake_in_the_place_of_the_one_in_the_data_folder_begins_behind_it(reload: bool, tmp_path: Path) -> None:
    facts = {"near": "", "far": "", "age": "0.3"}
    started = Started(tmp_path, lakes(NEAR), **facts)
    try:
        started.send(10)
        wait_for(lambda: started.files("data") and started.committed("lake"))
        started.go_over(lakes(FAR), reload=reload, **facts)
        assert started.counted() == {"a": 5, "b": 5}
        started.send(4)
        wait_for(lambda: started.files("elsewhere") and started.committed("far"))
        assert started.counted() == {"a": 7, "b": 7}
        assert started.counted(tmp_path / "elsewhere") == {"a": 2, "b": 2}
        near = started.cursor("lake")
        assert near is not None
        assert not near.lake, "it says nothing of what is committed any more"
    finally:
        started.listener.stop()
    assert started.counted() == {"a": 7, "b": 7}


@pytest.mark.parametrize("reload", [False, True])
def test_a_copy_elsewhere_does_not_answer_beside_the_files_that_it_is_a_copy_of(reload: bool, tmp_path: Path) -> None:
    facts = {"near": "", "far": "", "age": "0.3"}
    started = Started(tmp_path, lakes(NEAR + FAR), **facts)
    try:
        started.send(10)
        wait_for(lambda: started.files("data") and started.committed("lake") and started.committed("far"))
        started.go_over(lakes(FAR), reload=reload, **facts)
        wait_for(lambda: "move" in started.listener.status()["outputs"]["far"].get("error", ""))
        started.send(4)
        wait_for(lambda: started.committed("far"))
        assert started.counted() == {"a": 7, "b": 7}
        assert "move" in started.listener.status()["outputs"]["far"]["error"]
        (started.data / "events").rename(tmp_path / "before")
        started.go_over(lakes(FAR), reload=False, **facts)
        wait_for(lambda: (started.data / "lake.json").exists())
        assert started.counted() == {"a": 7, "b": 7}
        assert not started.listener.status()["outputs"]["far"].get("error")
    finally:
        started.listener.stop()


def test_a_lake_elsewhere_of_other_events_answers_again_when_it_comes_again(tmp_path: Path) -> None:
    facts = {"near": "", "far": "", "age": "0.3"}
    near, far = NEAR + 'types = ["a"]\n', FAR + 'types = ["b"]\n'
    started = Started(tmp_path, lakes(near + far), **facts)
    try:
        started.send(10)
        wait_for(lambda: started.files("data") and started.committed("lake") and started.committed("far"))
        started.go_over(lakes(near), reload=False, **facts)
        wait_for(lambda: not (started.data / "lake.json").exists())
        started.go_over(lakes(near + far), reload=False, **facts)
        wait_for(lambda: (started.data / "lake.json").exists())
        assert started.counted() == {"a": 5, "b": 5}
    finally:
        started.listener.stop()
