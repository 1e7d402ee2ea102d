"""A listener with lakes in different places: a query over the data folder counts each event once, at every moment."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from metlog.lake.query import Lake
from tests.helpers.commands import metlog_here
from tests.helpers.listener import Listener
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for

CONFIG = """
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
NEAR = '[[outputs]]\nname = "lake"\n'


class Started:
    def __init__(self, folder: Path, **facts: str) -> None:
        self.folder, self.data = folder, folder / "data"
        (folder / "listener.toml").write_text(CONFIG.format(folder=folder, **facts))
        self.listener = Listener(self.data, "--config", str(folder / "listener.toml"))
        wait_for(lambda: all(out.get("describe") for out in self.listener.status()["outputs"].values()))

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
