"""docs/reports.md shows every built-in report as it is: its columns, its own options, its picture."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from metlog.lake.query import Lake
from metlog.reports import COMMON, Library, Report
from metlog.reports.sample import fill
from tests.helpers.paths import ROOT

pytest.importorskip("vl_convert")

DOCS = ROOT / "docs"
PAGE = (DOCS / "reports.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))
MOST = 50_000
"""Bytes of a picture."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("data")
    fill(folder, 2, per_day=200)
    with Lake(folder) as made:
        yield made


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    done = subprocess.run(
        [sys.executable, str(DOCS / "pictures.py"), str(folder), "1000"], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return folder


def words(path: Path) -> set[str]:
    found = ET.fromstring(path.read_text("utf-8")).iter("{http://www.w3.org/2000/svg}text")
    return {"".join(element.itertext()) for element in found}


def test_there_is_a_section_and_a_picture_for_each_and_no_other(drawn: Path) -> None:
    names = {report.name for report in Library()}
    assert SECTIONS.keys() == names
    assert {path.stem for path in drawn.iterdir()} == names
    assert {path.stem for path in (DOCS / "pictures").glob("*.svg")} >= names


@pytest.mark.parametrize("report", list(Library()), ids=lambda report: report.name)
def test_the_picture_is_the_report_s(report: Report, drawn: Path) -> None:
    alternative, address = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", SECTIONS[report.name])[0]
    assert len(alternative) > 20
    assert address == f"pictures/{report.name}.svg"
    shown = DOCS / address
    assert shown.stat().st_size < MOST
    assert report.chart_spec is not None
    unit = report.chart_spec.unit.replace("a {by}", "")
    for path in (shown, drawn / shown.name):
        said = words(path)
        assert report.title in said
        assert any(text.startswith(unit.strip()) for text in said), said
        assert any(re.search(r"Mar 2026( \d\d:\d\d to \d\d:\d\d)?, UTC", text) for text in said)
        assert not any(report.empty.text in text for text in said)


@pytest.mark.parametrize("report", list(Library()), ids=lambda report: report.name)
def test_columns_and_options_are_those_of_the_report(report: Report, lake: Lake) -> None:
    text = SECTIONS[report.name]
    listed = re.search(r"Columns: ([^.]+?)\.\n", text + "\n", re.DOTALL)
    columns = [column.name for column in report.run(lake).columns]
    if report.name == "slowest-routes":
        assert "The same columns" in text
    else:
        assert listed is not None
        assert [name for name in re.findall(r"`([a-z_0-9]+)`", listed[1]) if name in columns] == columns
    for key in report.parameters.keys() - set(COMMON) - {"by"}:
        assert f"--{key}" in text
