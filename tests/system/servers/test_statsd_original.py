"""The input `statsd` beside the original server (npm's statsd 0.9): the same sums for a corpus of lines, or a documented difference."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from metlog.listener.inputs._statsd_lines import BadLine, parse
from tests.helpers.paths import ROOT
from tests.helpers.ports import free_port
from tests.helpers.statsd_corpus import DEADLY, DIFFERENT, LINES

BACKEND = """
exports.init = function (startup, config, events) {
  events.on("flush", function (time, metrics) {
    const sets = {};
    for (const name in metrics.sets) sets[name] = metrics.sets[name].values();
    const all = {counters: metrics.counters, timers: metrics.timers, gauges: metrics.gauges, sets: sets};
    console.log(JSON.stringify(all, (name, value) => value === Infinity ? 1e308 : value));
  });
  return true;
};
"""
Sums = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def original() -> Path:
    node, folder = shutil.which("node"), os.environ.get("METLOG_TEST_NODE")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "metlog-test-node"
    server = Path(folder or data) / "node_modules/statsd/stats.js"
    if node is None or not server.exists():
        pytest.skip("needs node, and statsd of npm in METLOG_TEST_NODE: npm install --prefix FOLDER statsd")
    return server


def told_by(server: Path, folder: Path, lines: list[str]) -> Sums:
    port = free_port(socket.SOCK_DGRAM)
    (folder / "sums.js").write_text(BACKEND)
    settings = {
        "port": port,
        "address": "127.0.0.1",
        "mgmt_port": free_port(),
        "flushInterval": 300,
        "deleteIdleStats": True,
    }
    config = json.dumps({**settings, "backends": [str(folder / "sums.js")]})
    (folder / "config.js").write_text(config)
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(["node", str(server), str(folder / "config.js")], stdout=out, stderr=out, cwd=folder)
    sums: Sums = {"counters": defaultdict(float), "timers": defaultdict(list), "gauges": {}, "sets": defaultdict(set)}
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            end = time.monotonic() + 30
            while "the.start" not in log.read_text():
                assert time.monotonic() < end, log.read_text()
                with contextlib.suppress(ConnectionRefusedError):  # not there yet
                    client.send(b"the.start:1|c")
                time.sleep(0.05)
            for number, line in enumerate(lines):
                client.send(line.encode())
                if number % 50 == 0:
                    time.sleep(0.02)
            client.send(b"the.end:1|c")
            while "the.end" not in log.read_text():
                assert time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.05)
            time.sleep(0.4)
    finally:
        process.terminate()
        process.wait(10)
    for line in log.read_text().splitlines():
        if not line.startswith('{"counters"'):
            continue
        flushed = json.loads(line)
        for name, value in flushed["counters"].items():
            sums["counters"][name] += value or 0
        for name, values in flushed["timers"].items():
            sums["timers"][name] += values
        sums["gauges"].update(flushed["gauges"])
        for name, values in flushed["sets"].items():
            sums["sets"][name] |= set(values)
    return sums


def ours(lines: list[str]) -> Sums:
    sums: Sums = {"counters": defaultdict(float), "timers": defaultdict(list), "gauges": {}, "sets": defaultdict(set)}
    for line in lines:
        try:
            events, _ = parse(line.rstrip("\r").encode(), "")
        except BadLine:
            continue
        for event in events:
            fields = event.fields
            name = sanitized(fields["name"], fields.get("tags", {}))
            if event.type == "counter":
                sums["counters"][name] += fields["count"] * event.weight
            elif event.type == "timer":
                sums["timers"][name].append(fields["ms"])
            elif event.type == "gauge":
                before = sums["gauges"].get(name, 0)
                sums["gauges"][name] = before + fields["delta"] if "delta" in fields else fields["value"]
            elif event.type == "set":
                sums["sets"][name].add(fields["value"])
    return sums


def sanitized(name: str, tags: dict[str, Any]) -> str:
    """As stats.js makes its keys: tags in the name, and what Graphite cannot have left out."""
    pairs = [
        (label, value) for label, values in tags.items() for value in (values if isinstance(values, list) else [values])
    ]
    key = name + "".join(f";{label}={value}" if value else f";{label}" for label, value in pairs)
    return re.sub(r"[^a-zA-Z_\-0-9.;=]", "", re.sub(r"/", "-", re.sub(r"\s+", "_", key)))


def named(templates: list[str]) -> list[str]:
    return [template.replace("%s", f"m{number}x") for number, template in enumerate(templates)]


def of_line(sums: Sums, number: int) -> dict[str, Any]:
    """What one line left, whatever its tags made of the name."""
    pattern = re.compile(rf"_?m{number}x(?![0-9])")
    found: dict[str, Any] = {}
    for kind, names in sums.items():
        for name, value in names.items():
            if pattern.match(name):
                plain = (
                    value
                    if not isinstance(value, list | set)
                    else sorted(map(str if isinstance(value, set) else float, value))
                )
                if not (kind == "counters" and value == 0):  # it tells counters that nothing came for, too
                    found[kind] = pytest.approx(value) if isinstance(value, int | float) else plain
    return found


def test_the_same_sums_for_every_line(original: Path, tmp_path: Path) -> None:
    lines = named(LINES)
    assert len(set(LINES)) > 500
    expected, found = told_by(original, tmp_path, lines), ours(lines)
    differing = {LINES[number]: (of_line(expected, number), of_line(found, number)) for number in range(len(lines))}
    assert {line: pair for line, pair in differing.items() if pair[0] != pair[1]} == {}
    assert sum(bool(pair[1]) for pair in differing.values()) > 400


def test_the_differences_are_those_that_are_documented(original: Path, tmp_path: Path) -> None:
    templates = list(DIFFERENT)
    lines = named(templates)
    expected, found = told_by(original, tmp_path, lines), ours(lines)
    same = [
        template for number, template in enumerate(templates) if of_line(expected, number) == of_line(found, number)
    ]
    assert set(same) <= {"%s:1|c\0"}
    page = (ROOT / "docs/listener.md").read_text("utf-8").lower()
    for words in (
        "unknown type",
        "capitals",
        "hexadecimal",
        "packed",
        "sample rate of 0",
        "colon",
        "exponent",
        "blank",
    ):
        assert words in page.partition("as the original statsd takes it")[2], words


def test_lines_that_end_the_original_are_taken_or_refused_here() -> None:
    for line in named(DEADLY):
        with contextlib.suppress(BadLine):
            assert parse(line.encode(), "")[0]
