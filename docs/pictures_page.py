"""Takes the pictures of docs/page.md: the page over a month of sample data, in Chromium.

    python docs/pictures_page.py [FOLDER]

Writes page-NAME.png into FOLDER, docs/pictures by default. The data has a fixed seed, but ends now, as the page shows what is new;
so a picture is taken anew when the page has changed, not at every build. Needs playwright and Debian's chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

from metlog.reports.sample import fill

DESKTOP: Final = {"viewport": {"width": 1180, "height": 820}}
DARK: Final = {**DESKTOP, "color_scheme": "dark"}
PHONE: Final = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
MOST: Final = 150_000
"""Bytes of a picture."""
_SQL: Final = (
    "SELECT fields->>'route' AS route, sum(weight) AS requests,\n"
    "       round(quantile_cont((fields->>'ms')::DOUBLE, 0.95), 1) AS p95_ms\n"
    "FROM events\n"
    "WHERE type = 'request' AND timestamp >= now() - INTERVAL 7 DAY\n"
    "GROUP BY route ORDER BY p95_ms DESC"
)


@contextmanager
def served(data: Path) -> Iterator[str]:
    """The address of a page over the data."""
    command = [sys.executable, "-m", "metlog", "serve", "--data", str(data), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().rsplit(" ", 1)[1].strip().rstrip("/")
        process.stdout.readline()
        yield address
    finally:
        process.terminate()
        process.wait(20)


def overview(tab: Page) -> None:
    tab.goto("/?since=7d")
    tab.wait_for_selector("#services")  # not the page that says that it waits
    tab.wait_for_load_state("networkidle")


def report(tab: Page) -> None:
    tab.goto("/reports/status-codes?since=14d&by=day")
    tab.wait_for_selector("figure.drawn canvas")
    tab.wait_for_load_state("networkidle")


def event(tab: Page) -> None:
    """One that failed, with those around it."""
    tab.goto("/events?since=14d&type=oldstyle&severity=3")
    tab.locator("ol.events summary").first.click()
    tab.locator("ol.events details[open] a:has-text('in full')").click()
    tab.wait_for_url("**/events/*/*")


def sql(tab: Page) -> None:
    tab.goto("/sql")
    tab.fill("#sql", _SQL)
    tab.press("#sql", "Control+Enter")
    tab.wait_for_selector("table.data td")


SHOTS: Final = (
    ("overview", DESKTOP, overview),
    ("report-dark", DARK, report),
    ("event", DESKTOP, event),
    ("sql", DESKTOP, sql),
    ("phone", PHONE, report),
)


def take(folder: Path) -> list[Path]:
    """Takes all of them; gives their paths. Raises RuntimeError for one that is too large, or without Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise RuntimeError("install chromium: apt-get install chromium")
    folder.mkdir(exist_ok=True)
    taken = []
    with tempfile.TemporaryDirectory() as data, sync_playwright() as driver:
        fill(data, 31)
        with served(Path(data)) as address:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            for name, screen, go in SHOTS:
                options: dict[str, Any] = {**screen, "base_url": address}
                context = browser.new_context(**options)
                tab = context.new_page()
                go(tab)
                path = folder / f"page-{name}.png"
                tab.screenshot(path=path)
                context.close()
                if path.stat().st_size > MOST:
                    raise RuntimeError(f"{path}: {path.stat().st_size} bytes, wants at most {MOST}")
                taken.append(path)
            browser.close()
    return taken


if __name__ == "__main__":
    for made in take(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"):
        print(f"{made}: {made.stat().st_size:,} bytes")
