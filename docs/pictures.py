"""Draws the pictures of docs/reports.md: each built-in report over the same month of sample data.

    python docs/pictures.py [FOLDER [REQUESTS]]

Writes NAME.svg for each report into FOLDER, docs/pictures by default. The data has a fixed seed, a fixed end and REQUESTS
a day (8,000), so that only a change of a report, a chart or the sample data changes a picture.
"""

from __future__ import annotations

import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import vl_convert

from metlog.lake.query import Lake
from metlog.reports import Library
from metlog.reports.sample import fill

NOW: Final = datetime(2026, 3, 31, tzinfo=UTC)
DAYS: Final = 30
ASKED: Final = {"delivery-by-minute": {"since": "2026-03-27T11:00", "until": "2026-03-27T14:00"}}
"""What a report is asked for, where the time that it shows by itself has nothing to see."""
_LONG: Final = re.compile(r"\d+\.\d{3,}")


def draw(folder: Path, per_day: int = 8_000) -> list[Path]:
    """Draws all of them, of so many requests a day; gives their paths."""
    folder.mkdir(exist_ok=True)
    drawn = []
    with tempfile.TemporaryDirectory() as data:
        fill(
            data, DAYS + 1, per_day=per_day, until=NOW
        )  # the last of these days is the one that begins at NOW: it has no events
        with Lake(data) as lake:
            for report in Library():
                specification = report.chart(report.run(lake, ASKED.get(report.name), now=NOW), width=760)
                specification["config"]["aria"] = False  # the page says in words what a picture shows
                svg = str(vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]))
                path = folder / f"{report.name}.svg"
                path.write_text(
                    _LONG.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), svg) + "\n", "utf-8"
                )
                drawn.append(path)
    return drawn


if __name__ == "__main__":
    given = sys.argv[1:]
    for made in draw(Path(given[0]) if given else Path(__file__).parent / "pictures", *map(int, given[1:])):
        print(f"{made}: {made.stat().st_size:,} bytes")
