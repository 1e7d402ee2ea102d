"""The figures as a table, as JSON, as a bar chart, and in pyperf's own format."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from typing import Any

from metlog.bench.modes import FLOOR, SEND
from metlog.bench.run import Row

__all__ = ["as_json", "as_pyperf", "as_svg", "as_table"]


def _scale(rows: Sequence[Row]) -> tuple[float, float]:
    by_name = {row.name: row.caller for row in rows}
    return by_name.get(FLOOR.name, float("nan")), by_name.get(SEND.name, float("nan"))


def as_table(rows: Sequence[Row]) -> str:
    """The figures as text: nanoseconds (median, and half the interquartile range), and ratios to the floor and to a raw send."""
    floor, send = _scale(rows)
    head = f"{'':42} {'caller ns':>10} {'±':>6} {'x floor':>8} {'x send':>7} {'CPU ns':>8} {'x floor':>8}"
    lines = (
        f"{row.name:42} {row.caller * 1e9:10,.0f} {row.spread * 1e9:6,.0f} {row.caller / floor:8.2f} "
        f"{row.caller / send:7.2f} {row.cpu * 1e9:8,.0f} {row.cpu / floor:8.2f}"
        for row in rows
    )
    return "\n".join([head, *lines])


def as_json(rows: Sequence[Row]) -> str:
    """The figures as JSON; seconds."""
    floor, send = _scale(rows)
    cases = [
        {**row._asdict(), "floor_ratio": row.caller / floor, "cpu_floor_ratio": row.cpu / floor, "send_ratio": row.caller / send}
        for row in rows
    ]  # fmt: skip
    machine = {"python": sys.version.split()[0], "machine": platform.machine(), "system": platform.platform()}
    return json.dumps({**machine, "unit": "seconds an event", "cases": cases}, indent=2)


def as_pyperf(rows: Sequence[Row]) -> Any:
    """A `pyperf.BenchmarkSuite` of the caller's time, for `pyperf compare_to` and the like; ImportError without pyperf."""
    import pyperf

    return pyperf.BenchmarkSuite(
        [
            pyperf.Benchmark(
                [pyperf.Run(list(row.rounds), metadata={"name": row.name, "unit": "second"}, collect_metadata=False)]
            )
            for row in rows
        ]
    )


_COLOURS = {"metlog": "#2563eb", "peer": "#94a3b8", "scale": "#0f172a"}


def as_svg(rows: Sequence[Row]) -> str:
    """A bar chart of the caller's time as multiples of the floor; the thin line beyond is what the whole process spends."""
    floor, _ = _scale(rows)
    shown = sorted(rows, key=lambda row: row.caller)
    most = max(max(row.caller, row.cpu) for row in shown) / floor
    height = 24 * len(shown) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 {height}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="880" height="{height}" fill="#fff"/>',
        '<text x="16" y="26" font-size="16" font-weight="600" fill="#0f172a">What an event costs its caller, in multiples of '
        "building and encoding it</text>",
    ]
    for index, row in enumerate(shown):
        y = 48 + 24 * index
        width, cpu = row.caller / floor / most * 490, row.cpu / floor / most * 490
        name = row.name.replace("&", "&amp;").replace("<", "&lt;")
        parts += [
            f'<text x="290" y="{y + 13}" text-anchor="end" fill="#334155">{name}</text>',
            f'<rect x="300" y="{y + 7}" width="{cpu:.1f}" height="3" fill="#cbd5e1"/>',
            f'<rect x="300" y="{y}" width="{width:.1f}" height="17" rx="2" fill="{_COLOURS[row.group]}"/>',
            f'<text x="{306 + max(width, cpu):.1f}" y="{y + 13}" fill="#334155">{row.caller / floor:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])
