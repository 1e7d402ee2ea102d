"""Each output takes the events that its table names, and none of them keeps another's from leaving the journal."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import duckdb

from tests.helpers.ports import port_of

OUTPUTS = {
    "by-type": 'types = ["login", "sync.*"]',
    "by-token": 'tokens = ["slow", "late"]',
    "by-logger": 'loggers = ["web"]',
    "by-severity": "severity_max = 3",
    "by-all": 'types = ["login"]\ntokens = ["slow"]\nloggers = ["web"]\nseverity_max = 4',
    "everything": "",
}
CONFIG = """
[listener]
data = "{folder}/data"
[[inputs]]
name = "udp"
port = 0
[[outputs]]
name = "lake"
types = ["login"]
"""
OUTPUT = """
[[outputs]]
name = "file"
id = "{name}"
path = "{folder}/{name}.ndjson"
batch_age = 0.02
{route}
"""
EVENTS = [
    {"type": "login", "logger": "web", "severity": 6, "tokens": ["login"]},
    {"type": "login", "logger": "web", "severity": 4, "tokens": ["login", "slow"]},
    {"type": "login", "logger": "sync", "severity": 3, "tokens": ["login", "slow"]},
    {"type": "login", "logger": "web", "severity": 5, "tokens": ["slow"]},
    {"type": "sync.start", "logger": "sync", "severity": 6, "tokens": ["late"]},
    {"type": "sync", "logger": "sync", "severity": 0, "tokens": []},
    {"type": "synchronous", "logger": "web", "severity": 7, "tokens": ["slowly"]},
]
EXPECTED = {
    "by-type": {0, 1, 2, 3, 4},
    "by-token": {1, 2, 3, 4},
    "by-logger": {0, 1, 3, 6},
    "by-severity": {2, 5},
    "by-all": {1},
    "everything": set(range(7)),
}


def test_every_output_gets_what_its_table_names(tmp_path: Path) -> None:
    config = tmp_path / "listener.toml"
    tables = [OUTPUT.format(name=name, folder=tmp_path, route=route) for name, route in OUTPUTS.items()]
    config.write_text(CONFIG.format(folder=tmp_path) + "".join(tables))
    process = subprocess.Popen(
        [sys.executable, "-m", "metlog", "listen", "--config", str(config)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = port_of(process.stdout.readline())
        assert process.stdout.readline().startswith("ready")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n, event in enumerate(EVENTS):
                sock.sendto(json.dumps(event | {"seq": n}).encode(), ("127.0.0.1", port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    found = {name: numbers(tmp_path / f"{name}.ndjson") for name in OUTPUTS}
    assert found == {name: sorted(expected) for name, expected in EXPECTED.items()}
    rows = duckdb.connect().execute(f"SELECT seq FROM read_parquet('{tmp_path}/data/events/*/*.parquet')").fetchall()
    assert sorted(seq for (seq,) in rows) == [0, 1, 2, 3]
    assert list((tmp_path / "data/journal/main").glob("*.seg")) == []  # each is past what it does not take


def numbers(path: Path) -> list[int]:
    return sorted(json.loads(line)["seq"] for line in path.read_text().splitlines()) if path.exists() else []
