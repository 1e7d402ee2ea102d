from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metlog.diagnose.graphite import check
from tests.helpers.paths import ROOT

GOOD = "[stats]\npattern = ^stats\\.\nretentions = 10s:6h,1m:30d\n"
SUM = """
[min]\npattern = \\.lower\naggregationMethod = min\nxFilesFactor = 0
[max]\npattern = \\.upper\naggregationMethod = max\nxFilesFactor = 0
[count]\npattern = \\.count$\naggregationMethod = sum\nxFilesFactor = 0
"""


def test_matching_intervals_have_no_finding() -> None:
    assert check(10, GOOD, SUM) == []


def test_the_configuration_under_deploy_has_no_finding() -> None:
    folder = ROOT / "deploy" / "graphite"
    texts = [(folder / name).read_text("utf-8") for name in ("storage-schemas.conf", "storage-aggregation.conf")]
    assert check(10, *texts) == []


@pytest.mark.parametrize(
    ("flush", "schemas", "aggregation", "said"),
    [
        (10, "[a]\npattern = .*\nretentions = 60s:1d\n", SUM, "of 6 flushes only the last is kept; begin its retentions with 10s:…"),
        (10, "[a]\npattern = .*\nretentions = 60:1d\n", SUM, "every 60 s"),
        (10, "[a]\npattern = .*\nretentions = 1s:1d\n", SUM, "charts get gaps"),
        (10, "[a]\npattern = ^carbon\nretentions = 60:1d\n", SUM, "no section matches"),
        (10, "[first]\npattern = .*\nretentions = 1m:1d\n" + GOOD, SUM, "[first]"),
        (10, "[a]\npattern = .*\nretentions = often\n", SUM, "retentions = 'often': wants STEP:TIME pairs"),
        (10, "[a]\npattern = .*\nretentions = 0s:1d\n", SUM, "wants STEP:TIME pairs"),
        (10, "[a]\npattern = .*\nretentions = 10s:6h,15s:1d\n", SUM, "15 s after 10 s: carbon refuses"),
        (10, "[a]\npattern = (\nretentions = 10s:6h\n", SUM, "storage-schemas.conf [a]: pattern = (:"),
        (10, "no section\n", SUM, "storage-schemas.conf: File contains no section headers"),
        (10, GOOD, "", "[carbon's default]: stats.counters.request.GET.200.count is aggregated by 'average'"),
        (10, GOOD, "[a]\npattern = .*\naggregationMethod = average\nxFilesFactor = 0\n", "older peaks shrink"),
        (10, GOOD, "[a]\npattern = .*\naggregationMethod = sum\nxFilesFactor = 0.5\n", "silent for more than 50%"),
        (10, GOOD, "[a]\npattern = .*\naggregationMethod = sum\nxFilesFactor = half\n", "xFilesFactor = 'half': wants a number"),
        (10, GOOD, "[a]\npattern = (\n", "storage-aggregation.conf [a]: pattern"),
    ],
)  # fmt: skip
def test_a_mismatch_is_told_with_its_remedy(flush: float, schemas: str, aggregation: str, said: str) -> None:
    findings = check(flush, schemas, aggregation)
    assert any(said in line for line in findings), findings


def doctor(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    return subprocess.run(
        [sys.executable, "-m", "metlog", "doctor", "--graphite", str(folder), *more],
        capture_output=True, text=True, timeout=60, cwd=folder.parent, env={**kept, "METLOG_SENDER": "null:"},
    )  # fmt: skip


@pytest.mark.process
def test_doctor_tells_each_mismatch_with_its_remedy_and_fails(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "storage-schemas.conf").write_text("[everything]\npattern = .*\nretentions = 60s:1d\n")
    done = doctor(conf)  # without storage-aggregation.conf, as Debian leaves it
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "[everything]" in line)
    assert lines[at].startswith("FAIL  graphite: storage-schemas.conf [everything]: keeps a value every 60 s")
    assert lines[at].endswith("of 6 flushes only the last is kept")
    assert lines[at + 1].strip() == "-> begin its retentions with 10s:…"
    assert "older counts shrink" in done.stdout
    (conf / "storage-aggregation.conf").write_text(SUM)
    done = doctor(conf, "--statsd-flush", "60")
    assert done.returncode == 0, done.stdout
    assert "graphite keeps what statsd flushes every 60 s" in done.stdout


@pytest.mark.process
def test_doctor_names_the_file_that_is_not_there(tmp_path: Path) -> None:
    done = doctor(tmp_path / "none")
    assert done.returncode == 1
    assert "storage-schemas.conf: No such file or directory" in done.stdout
    assert "give the folder with carbon's configuration" in done.stdout
