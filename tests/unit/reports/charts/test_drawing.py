"""Pictures are drawn in a process of their own: what the network sends is drawn, and what ends the process ends one picture."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metlog.lake.query import Column
from metlog.reports import Chart, Library, Report, ReportResult
from metlog.reports.charts.drawing import Drawer, DrawError
from metlog.reports.charts.terminal import lines
from metlog.reports.charts.values import LARGEST, finite, legible
from metlog.reports.charts.vega import specification

pytestmark = pytest.mark.process

pytest.importorskip("vl_convert")

PLAIN: dict[str, Any] = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "data": {"values": [{"a": "x", "b": 1}]},
    "mark": "bar",
    "encoding": {"x": {"field": "a", "type": "nominal"}, "y": {"field": "b", "type": "quantitative"}},
}
FATAL = {**PLAIN, "data": {"values": [{"a": "a\0b", "b": 1}]}}
"""What ends the process of the library that draws."""

ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    [
        "\0",
        "\x01",
        "\x1b[31m",
        "\ufffe",
        "\uffff",
        "\u202e",
        "x" * 60_000,
        "a.b['c']",
        "\U0001f600" * 40,
        "a\U0001f600" * 9,
        "",
        "datum",
        "=1+1",
        "&<>\"'",
    ]
)
ANY_NUMBER = st.none() | st.floats() | st.sampled_from([1.7e308, -1.7e308, 5e-324, float("inf"), float("nan"), 0.0])


@pytest.fixture(scope="module")
def drawer() -> Iterator[Drawer]:
    made = Drawer()
    yield made
    made.close()


def charted(kind: str, names: list[str], numbers: list[float | None], label: str) -> tuple[Report, ReportResult]:
    chart = Chart(kind=kind, x=label or "n", y=("v", "w"), labels={"v": label}, unit=label)  # type: ignore[arg-type]
    report = Report("mine", label, "", "SELECT 1", {}, chart, Library()["logins"].empty)
    rows = [{label or "n": name, "v": value, "w": value} for name, value in zip(names, numbers, strict=False)]
    table = pa.Table.from_pylist(
        rows, schema=pa.schema([(label or "n", pa.string()), ("v", pa.float64()), ("w", pa.float64())])
    )
    columns = [Column(name, "VARCHAR") for name in table.column_names]
    return report, ReportResult(columns, table, False, 1.0, {})


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["ranked", "spread", "bars", "lines"]),
    st.lists(ANY_TEXT.filter(lambda name: name not in {"v", "w"}), min_size=1, max_size=6),
    st.lists(ANY_NUMBER, min_size=6, max_size=6),
    ANY_TEXT.filter(lambda name: name not in {"v", "w"}),
)
def test_every_text_and_number_is_drawn_as_well_formed_xml(
    drawer: Drawer, kind: str, names: list[str], numbers: list[float | None], label: str
) -> None:
    report, found = charted(kind, names, numbers, label)
    ElementTree.fromstring(drawer.draw(specification(report, found)))
    assert drawer.deaths == 0
    assert lines(report, found)


@pytest.mark.untraced
def test_every_character_that_xml_forbids_is_replaced_and_names_stay_apart() -> None:
    for code in range(sys.maxunicode + 1):
        shown = ord(legible(chr(code)))
        assert shown in {0x9, 0xA} or 0x20 <= shown <= 0xD7FF or 0xE000 <= shown <= 0xFFFD or shown > 0xFFFF
    assert len({legible(chr(code)) for code in range(0x20)}) == 0x20
    assert legible("x" * 60_000 + "a") != legible("x" * 60_000 + "b")
    assert len(legible("x" * 60_000)) < 400


@given(st.floats() | st.integers() | st.booleans() | st.none() | st.text())
def test_numbers_of_a_chart_are_finite(value: Any) -> None:
    shown = finite(value)
    assert shown is None or abs(shown) <= LARGEST
    assert not isinstance(shown, int) or abs(shown) <= 2**53


def test_a_picture_that_ends_the_process_fails_alone() -> None:
    drawer = Drawer()
    try:
        for deaths in (1, 2):
            with pytest.raises(DrawError, match="ended"):
                drawer.draw(FATAL)
            assert drawer.deaths == deaths
            assert drawer.draw(PLAIN).startswith(b"<svg")
    finally:
        drawer.close()


def test_a_picture_that_needs_more_memory_than_it_may_have_fails_alone() -> None:
    drawer = Drawer(memory=600 << 20)
    try:
        rows = [{"a": f"{number}", "b": number} for number in range(60_000)]
        with pytest.raises(DrawError, match="ended"):
            drawer.draw({**PLAIN, "data": {"values": rows}})
    finally:
        drawer.close()


def test_a_picture_that_takes_too_long_fails_in_time() -> None:
    drawer = Drawer(seconds=2)
    try:
        rows = [{"a": f"{number}", "b": number} for number in range(100_000)]
        began = time.monotonic()
        with pytest.raises(DrawError, match=r"longer|ended"):
            drawer.draw({**PLAIN, "data": {"values": rows}})
        assert time.monotonic() - began < 15
    finally:
        drawer.close()


def test_a_faulty_specification_is_told_and_the_process_stays(drawer: Drawer) -> None:
    drawer.draw(PLAIN)
    process = drawer._process
    with pytest.raises(DrawError, match="cannot be drawn"):
        drawer.draw({"mark": "nothing of the kind"})
    assert drawer.draw(PLAIN)
    assert drawer._process is process


def test_a_closed_drawer_ends_what_it_draws() -> None:
    drawer = Drawer()
    drawer.draw(PLAIN)
    failed = threading.Event()

    def slow() -> None:
        try:
            drawer.draw({**PLAIN, "data": {"values": [{"a": f"{n}", "b": n} for n in range(100_000)]}})
        except DrawError:
            failed.set()

    thread = threading.Thread(target=slow)
    thread.start()
    drawer.close()
    thread.join(20)
    assert failed.is_set()
    with pytest.raises(DrawError):
        drawer.draw(PLAIN)
