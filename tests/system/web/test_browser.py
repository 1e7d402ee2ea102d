"""The page in Debian's chromium: used as a person does, with an eye on the console and on the content policy."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from metlog.alerts.states import State, Store
from metlog.reports import Library
from metlog.reports.sample import fill
from tests.helpers.paths import ROOT
from tests.helpers.waiting import wait_for
from tests.helpers.webdata import HTML, Journal, Served

playwright = pytest.importorskip("playwright.sync_api", reason="install it with: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = ROOT / ".ci-artifacts"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="install chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("sample")
    fill(data, 14, per_day=1500, until=datetime.now(UTC))
    keep_alerts(data)
    return data


def keep_alerts(data: Path) -> None:
    """States as a listener leaves them, one of each kind; the page takes those of some minutes ago for late."""
    store = Store(data / "alerts", "listener-main")
    now = datetime.now(UTC).timestamp()
    about = "events where severity <= 3 AND logger = 'shop': value > 10"
    states = [
        State(
            name="errors-of-the-shop", state="firing", alarm=True, alarm_since=now - 600, since=now - 600, value=42.0
        ),
        State(name="slow", state="pending", since=now - 30, value=612.5),
        State(name="silent", state="no_data", since=now - 90_000),
        State(name="wrong", state="error", since=now - 7200, error="line 1, column 8: there is no column 'nosuch'"),
        State(name="quiet", state="ok", since=now - 5, value=0.0),
    ]
    for state in states:
        state.about, state.evaluated_at = about, now
    store.save(states, now)
    store.close()


@pytest.fixture(scope="module")
def journal(folder: Path) -> Journal:
    return Journal(folder)


@pytest.fixture(scope="module")
def served(folder: Path, journal: Journal) -> Iterator[Served]:
    with Served(folder) as made:
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


CHARTS = [report.name for report in Library() if report.chart_spec]
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
    "wide": {"viewport": {"width": 1600, "height": 1000}},
}


class Visit:
    """A tab. What the console says, what fails to load and what breaks the policy is kept in `faults`."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(base_url=address, **options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(15_000)
        self.faults: list[str] = []
        self.tab.on(
            "console",
            lambda message: self.faults.append(message.text) if message.type in {"error", "warning"} else None,
        )
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("requestfailed", lambda request: self._failed(request))
        self.tab.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))"
        )

    def _failed(self, request: Any) -> None:
        # of a page that was left: its tail, its pictures, the names for its editor, how far its query was, its counts
        left = any(part in request.url for part in ("/api/tail", ".svg", "/api/schema", "/jobs/", "/events?"))
        if not (request.failure == "net::ERR_ABORTED" and left):
            self.faults.append(f"{request.url}: {request.failure}")

    def close(self) -> None:
        self.context.close()
        assert self.faults == []

    def leave(self) -> None:
        """Forgets what the page has kept, so that the next test finds a tab without a past."""
        self.tab.evaluate("localStorage.clear(), sessionStorage.clear()")
        faults = list(self.faults)
        self.tab.unroute_all()
        self.tab.goto("about:blank")
        self.context.clear_cookies()
        assert faults == []


class Tabs:
    """A tab for each screen, used by one test after the other: a new window costs Chromium more than a page. One that a test left with a
    fault is not used again."""

    def __init__(self, browser: Any, address: str) -> None:
        self._browser, self._address = browser, address
        self._idle: dict[str, Visit] = {}

    @contextlib.contextmanager
    def visit(self, screen: str) -> Iterator[Visit]:
        made = self._idle.pop(screen, None) or Visit(self._browser, self._address, **SCREENS[screen])
        made.name = screen  # type: ignore[attr-defined]
        made.faults.clear()
        try:
            yield made
            made.leave()
        except BaseException:
            made.context.close()
            raise
        self._idle[screen] = made

    def close(self) -> None:
        for made in self._idle.values():
            made.context.close()


@pytest.fixture(scope="module")
def tabs(chromium: Any, served: Served) -> Iterator[Tabs]:
    made = Tabs(chromium, served.address)
    yield made
    made.close()


@pytest.fixture(params=list(SCREENS))
def visit(request: pytest.FixtureRequest, tabs: Tabs) -> Iterator[Visit]:
    with tabs.visit(request.param) as made:
        yield made


@pytest.fixture
def desktop(tabs: Tabs) -> Iterator[Visit]:
    with tabs.visit("desktop") as made:
        yield made


def picture(visit: Visit, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    visit.tab.screenshot(path=PICTURES / f"page-{name}-{visit.name}.png")  # type: ignore[attr-defined]


def whole(tab: Any) -> None:
    """Until the page has all that it asked for: on a busy machine a result or the counts of a search come later."""
    tab.wait_for_selector("[data-job], [data-counting]", state="detached", timeout=60_000)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("overview", "/?since=7d"),
        ("reports", "/reports"),
        ("report", "/reports/request-times?since=14d"),
        ("events", "/events?since=14d&severity=5"),
        ("alerts", "/alerts"),
        ("columns", "/events?since=14d&type=request&cols=severity,route,status,ms,user"),
        ("empty", "/events?since=14d&q=nothing+has+this"),
        ("sql", "/sql?sql=SELECT+type,+sum(weight)+AS+events%0AFROM+events%0AGROUP+BY+type%0AORDER+BY+events+DESC"),
    ],
)
def test_every_page_shows_on_every_screen_without_a_fault(visit: Visit, name: str, path: str) -> None:
    answer = visit.tab.goto(path, wait_until="networkidle")
    assert answer.status in {200, 202}
    whole(visit.tab)
    visit.tab.wait_for_load_state("networkidle")
    picture(visit, name)
    width = visit.tab.evaluate("document.documentElement.scrollWidth")
    assert width <= visit.tab.viewport_size["width"], "nothing sticks out to the side"
    broken = visit.tab.evaluate(
        "[...document.images].filter(i => i.offsetParent && i.complete && !i.naturalWidth).map(i => i.currentSrc)"
    )
    assert broken == []


def test_a_parameter_is_changed_and_stays_in_the_address(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/reports")
    tab.click("a[href='/reports/request-times']")
    tab.wait_for_selector("figure.drawn canvas", timeout=60_000)
    before = tab.inner_text("table.data")
    tab.click(".clock summary")
    tab.fill("#since", "3d")
    tab.click(".clock button:has-text('Apply')")
    tab.wait_for_url(re.compile("since=3d"))
    tab.wait_for_selector("figure.drawn canvas")
    assert tab.inner_text("table.data") != before
    tab.reload()
    tab.click(".clock summary")
    assert tab.input_value("#since") == "3d"


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_says_in_the_browser_what_its_picture_says(desktop: Visit, name: str) -> None:
    """Under the page's policy expressions are interpreted, not compiled as where the picture is drawn."""
    tab = desktop.tab
    tab.goto(f"/reports/{name}?since=10d")
    tab.wait_for_selector("figure.drawn canvas")
    drawn = tab.evaluate(
        """async (name) => {
            const { chart } = await (await fetch(`/api/reports/${name}?since=10d&_size=page&_theme=light`)).json();
            const place = document.body.appendChild(document.createElement("div"));
            const options = { actions: false, ast: true, defaultStyle: false, tooltip: { disableDefaultStyle: true } };
            const { view } = await vegaEmbed(place, chart, options);
            return await view.toSVG();
        }""",
        name,
    )
    answer = tab.request.get(f"/reports/{name}.svg?since=10d&_size=page")
    assert words(drawn) == words(answer.text())
    assert len(words(drawn)) > 1


def words(svg: str) -> list[str]:
    """The texts in a picture: labels of the axes and of the legend, and the title."""
    return sorted(re.findall(r"<text[^>]*>([^<]+)</text>", svg))


def test_the_chart_answers_to_the_pointer_under_the_strict_policy(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/reports/request-times?since=7d")
    box = tab.wait_for_selector("figure.drawn canvas").bounding_box()
    shown = tab.locator("#vg-tooltip-element.visible")
    for row, step in product(range(4, 18), range(2, 40)):  # somewhere a mark is under it
        tab.mouse.move(box["x"] + box["width"] * step / 40, box["y"] + box["height"] * row / 20)
        if shown.count():
            break
    assert tab.locator("#vg-tooltip-element.visible").count() == 1


def test_sql_is_run_with_the_keyboard_alone(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to content"
    tab.goto("/sql")
    tab.focus("#sql")
    tab.keyboard.type("SELECT 6 * 7 AS answer")
    tab.keyboard.press("Control+Enter")
    tab.wait_for_url(re.compile(r"sql=SELECT\+6"))
    assert tab.inner_text("table.data td") == "42"
    with tab.expect_download() as download:
        tab.click("a:has-text('CSV')")
    assert Path(download.value.path()).read_bytes() == b"answer\n42\n"


def test_the_editor_colours_and_completes(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/sql", wait_until="networkidle")
    tab.focus("#sql")
    tab.keyboard.type("SELECT sev")
    tab.wait_for_selector(".offers li[aria-selected=true]:has-text('severity')")
    tab.keyboard.press("Tab")
    tab.keyboard.type(", fields->>'rou")
    tab.wait_for_selector(".offers li:has-text('route')")
    tab.keyboard.press("Tab")
    tab.keyboard.type(" AS route -- and so on\nFROM events LIMIT 3")
    assert tab.input_value("#sql") == "SELECT severity, fields->>'route' AS route -- and so on\nFROM events LIMIT 3"
    for kind, text in (("k", "SELECT"), ("s", "'route'"), ("c", "-- and so on"), ("n", "3")):
        assert text in tab.locator(f".code pre .{kind}").all_inner_texts()
    tab.keyboard.press("Escape")
    tab.keyboard.press("Tab")  # where no list is open it goes on to the button
    assert tab.evaluate("document.activeElement.textContent") == "Run"
    tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile("sql=SELECT"))
    assert tab.locator(".result tbody tr").count() == 3


def test_a_long_query_is_cancelled_on_the_page(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/sql")
    tab.fill("#sql", "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range % 7 = b.range")
    tab.click("button:has-text('Run')")
    tab.wait_for_selector("h2:has-text('is working on it')")
    wait_for(lambda: int(tab.inner_text("[data-seconds]")) >= 2)
    tab.click("button:has-text('Cancel the query')")
    tab.wait_for_selector("h2:has-text('Cancelled')")
    assert tab.input_value("#sql").startswith("SELECT count(*)")
    desktop.faults[:] = [fault for fault in desktop.faults if "400 (Bad Request)" not in fault]


def test_whole_events_are_read_with_the_first_column_in_sight(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/sql?sql=SELECT+*+FROM+events+ORDER+BY+timestamp+DESC+LIMIT+20")
    assert tab.locator(".result thead th a").all_inner_texts()[:3] == ["timestamp", "logger", "type"]
    place = tab.locator(".result").bounding_box()
    tab.evaluate("document.querySelector('.result').scrollLeft = 600")
    first = tab.locator(".result tbody tr:first-child td:first-child").bounding_box()
    assert abs(first["x"] - place["x"]) < 3
    heights = tab.evaluate("[...document.querySelectorAll('.result tbody tr')].map(row => row.offsetHeight)")
    assert max(heights) < 140
    picture(visit, "star")


def test_a_dashboard_is_made_and_shown_on_every_screen(visit: Visit) -> None:
    tab = visit.tab
    name = f"board-{visit.name}"  # type: ignore[attr-defined]
    tab.goto("/dashboards/new")
    tab.fill("#name", name)
    tab.fill("#title", "A board")
    for at, report in enumerate(("requests-by-hour", "request-times", "errors-by-type")):
        tab.select_option(f"#report{at}", report)
    tab.select_option("#width0", "full")
    tab.select_option("#show2", "both")
    tab.click("button:has-text('Save')")
    tab.wait_for_url(re.compile(f"/dashboards/{name}$"))
    tab.wait_for_load_state("networkidle")
    assert tab.locator("figure.drawn canvas").count() == 3
    assert tab.evaluate("document.documentElement.scrollWidth") <= tab.viewport_size["width"]
    tab.click("nav[aria-label='Span of time'] a:has-text('24h')")
    tab.wait_for_url(re.compile("since=24h"))
    assert "since=24h" in tab.locator("figure").first.get_attribute("data-report")
    picture(visit, "dashboard")
    with tab.expect_download() as download:
        tab.click("a:has-text('All as CSV')")
    assert Path(download.value.path()).read_bytes().startswith(b"PK")


def test_an_event_is_found_and_opened_with_the_keyboard_alone(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/events?since=14d")
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "q"
    tab.keyboard.type("/checkout")
    tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile("q=%2Fcheckout"))
    for wanted in ("SUMMARY", "A"):  # the first event, then the link to all of it
        for _ in range(40):
            tab.keyboard.press("Tab")
            if tab.evaluate(
                "document.activeElement.closest('ol.events') && document.activeElement.tagName"
            ) == wanted and (wanted == "SUMMARY" or "in full" in tab.evaluate("document.activeElement.textContent")):
                break
        tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile(r"/events/\w+/\d+"))
    assert "/checkout" in tab.inner_text("pre.payload")


def test_a_bar_of_a_chart_leads_to_its_events(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/reports/logins?since=10d&by=month")
    box = tab.wait_for_selector("figure.drawn canvas").bounding_box()
    height = box["y"] + box["height"] * 0.7
    for step in range(4, 40):  # where the high bar is depends on the day of the month
        place = box["x"] + box["width"] * step / 40
        tab.mouse.move(place, height)
        tab.wait_for_timeout(50)
        if tab.evaluate("document.querySelector('figure.drawn .vega-embed').style.cursor") == "pointer":
            break
    else:
        pytest.fail("no bar of the chart is a link")
    tab.mouse.click(place, height)
    tab.wait_for_url(re.compile(r"/events\?since=.*type=login.*success"))
    whole(tab)
    assert tab.locator("ol.events li").count() > 10


def test_a_row_of_a_report_leads_to_its_events(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/reports/events-by-type?since=10d")
    row = tab.locator("table.data tbody tr").nth(1)
    name, events = row.locator("td").nth(0).inner_text(), row.locator("td").nth(1).inner_text().replace(",", "")
    row.locator("a").first.click()
    tab.wait_for_url(re.compile(r"/events\?"))
    whole(tab)
    assert f"type {name}" in tab.inner_text(".chips")
    assert tab.inner_text("[role=status]").split(" ")[0].replace(",", "") == events or "in all" in tab.inner_text(
        "[role=status]"
    )


def test_counts_that_come_later_take_their_places_and_what_is_open_stays(desktop: Visit) -> None:
    """The page as it is without its counts: the server waits for them in the first request only."""
    tab = desktop.tab
    address = "/events?since=14d&severity=5"
    whole = tab.request.get(address, headers={"accept": "*/*"}).text()
    without = re.sub(r'(?s)<form class="facets".*?</form>', '<div class="facets" id="facets"></div>', whole)
    without = re.sub(
        r'(?s)<div class="card" id="bars">.*?</figure></div>', '<div class="card" id="bars"></div>', without
    )
    without = without.replace('id="found">', 'id="found"><span data-counting="/jobs/one">being counted</span>')
    without = without.replace("</head>", '<script src="/static/x/counting.js" defer></script></head>')
    told = iter(["running", "done"])
    seen: list[str] = []

    def page(route: Any) -> None:
        seen.append(route.request.resource_type)
        if len(seen) == 1:
            route.fulfill(body=without, content_type="text/html; charset=utf-8")
        else:
            route.continue_()

    tab.route("**/events?*", page)
    tab.route("**/counting.js", lambda route: route.fulfill(path=ROOT / "metlog" / "web" / "static" / "counting.js"))
    tab.route("**/jobs/one", lambda route: route.fulfill(json={"state": next(told), "share": 0.5}))
    tab.goto(address)
    tab.locator("ol.events summary").first.click()
    tab.wait_for_selector("form#facets button")
    assert seen == ["document", "fetch"]
    assert tab.locator("#bars svg a").count() > 5
    assert "being counted" not in tab.inner_text("#found")
    assert tab.locator("ol.events details[open]").count() == 1
    tab.locator("[data-bars] a").first.focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("[...document.querySelectorAll('[data-bars] a')].indexOf(document.activeElement)") == 1


def test_bars_over_time_are_one_stop_of_the_keyboard_and_lead_to_their_events(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/events?since=10d&type=login")
    whole(tab)
    before = tab.inner_text("[role=status]")
    assert tab.locator("[data-bars] a[tabindex='0']").count() == 1
    tab.locator("[data-bars] a").first.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowLeft")
    title = tab.evaluate("document.activeElement.querySelector('title').textContent")
    tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile(r"until=\d{4}-"))
    whole(tab)
    found = tab.inner_text("[role=status]")
    assert found != before
    assert f": {found.split(' ')[0]} events" in title


def test_values_narrow_a_search_down(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/events?since=14d")
    tab.click(".facets button[name='type'][value='request']")
    tab.wait_for_url(re.compile("type=request"))
    tab.locator("#hits summary").first.click()
    tab.locator("#hits table.fields tr:has(th:text-is('method')) button[value^='!method=']").click()
    tab.wait_for_url(re.compile("field=%21method"))
    assert "!method=" in tab.inner_text(".chips")
    tab.locator("#hits summary").first.click()
    tab.locator("#hits table.fields tr:has(th:text-is('route')) button[name='cols']").click()
    tab.wait_for_url(re.compile("cols=route"))
    assert tab.inner_text("#hits summary .value >> nth=0").startswith("/")
    tab.click(".chip:has-text('!method=')")
    tab.wait_for_url(lambda address: "method" not in address)
    assert "cols=route" in tab.url
    picture(visit, "narrowed")


def test_the_browsers_zone_is_one_click_away_and_stays(chromium: Any, served: Served) -> None:
    visit = Visit(chromium, served.address, timezone_id="Asia/Kathmandu", **SCREENS["desktop"])
    tab = visit.tab
    tab.goto("/events?since=14d")
    whole(tab)
    in_utc = tab.inner_text("ol.events li:first-child time")
    tab.click(".clock summary")
    tab.click("[data-zone]")
    tab.wait_for_url(re.compile("tz=Asia%2FKath?mandu"))
    there = tab.inner_text("ol.events li:first-child time")
    assert there != in_utc
    assert there.split(":")[1] == f"{(int(in_utc.split(':')[1]) + 45) % 60:02}"
    tab.click("nav a:has-text('Reports')")
    assert "tz=Asia" in tab.url
    tab.click("a[href^='/reports/logins']")
    tab.wait_for_selector("figure.drawn canvas")
    assert re.search("Asia/Kath?mandu", tab.inner_text("footer"))
    visit.close()


def test_a_page_asks_again_unless_somebody_reads_in_it(chromium: Any, served: Served) -> None:
    visit = Visit(chromium, served.address, **SCREENS["desktop"])
    tab = visit.tab
    tab.clock.install()
    tab.goto("/events?since=14d&refresh=10s")
    tab.evaluate("window.same = true")
    tab.locator("#hits summary").first.click()
    tab.clock.run_for(11_000)
    assert tab.evaluate("window.same") is True
    tab.locator("#hits summary").first.click()
    tab.evaluate("document.activeElement.blur()")
    with tab.expect_navigation():
        tab.clock.run_for(11_000)
    assert tab.evaluate("window.same === undefined")
    visit.close()


def test_a_wrong_query_is_shown_with_its_place(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/sql")
    tab.fill("#sql", "SELECT type, payloat FROM events")
    tab.click("button:has-text('Run')")
    tab.wait_for_selector("[role=alert]")
    assert "did you mean 'payload'" in tab.inner_text("[role=alert]")
    picture(visit, "error")
    visit.faults[:] = [fault for fault in visit.faults if "400 (Bad Request)" not in fault]


def test_a_query_is_saved_and_is_a_report_with_a_chart(desktop: Visit) -> None:
    tab = desktop.tab
    tab.goto("/sql?sql=SELECT+type,+sum(weight)+AS+events+FROM+events+GROUP+BY+type")
    tab.click("summary:has-text('Save as a report')")
    tab.fill("#name", "types-saved")
    tab.fill("#title", "Types, saved")
    tab.select_option("#chart", "ranked")
    tab.click(".save button")
    tab.wait_for_url(re.compile("/reports/types-saved"))
    tab.wait_for_selector("figure.drawn canvas")
    assert tab.inner_text("h1") == "Types, saved"


def test_the_tail_is_followed_while_events_arrive(visit: Visit, journal: Journal) -> None:
    tab = visit.tab
    tab.goto("/tail?logger=live&field=!absent&not_type=unwanted")
    tab.wait_for_selector("#state.on")
    for number in range(8):
        journal.append(
            {
                "type": "order",
                "tokens": ["order"],
                "logger": "live",
                "severity": number % 8,
                "payload": f"order {number}",
                "fields": {"user": f"u{number}"},
            },
            {"type": "other", "logger": "quiet", "payload": "not wanted"},
            {"type": "unwanted", "logger": "live", "payload": "not wanted"},
            {"type": "order", "logger": "live", "payload": "not wanted", "fields": {"absent": 1}},
        )
    journal.append(
        {
            "type": HTML,
            "logger": "live",
            "payload": HTML,
            "hostname": HTML,
            "tokens": [HTML],
            "fields": {HTML: HTML},
            "stream": HTML,
            "seq": 1,
        }
    )
    tab.wait_for_selector("#events li:nth-child(9)")
    assert "not wanted" not in tab.inner_text("#events")
    tab.locator("#events summary").first.click()
    assert tab.locator("#events li").first.locator("pre").first.inner_text() == HTML
    assert tab.locator("#events img, #events script").count() == 0
    picture(visit, "tail")
    tab.click("#pause")
    assert tab.inner_text("#state").startswith("paused")


EXACT = {
    "id": 1234567890123456789, "ids": [9007199254740993, 1], "ms": 15.0, "text": '1234567890123456789 "2"', "none": None, "x.y": {"z": 2},
    "a=b": 1, "cart": {"size": 3, "lines": {}},
}  # fmt: skip


def test_numbers_are_shown_and_searched_for_as_they_are(desktop: Visit, journal: Journal) -> None:
    """A double has not all of them: the browser never makes one of a number in an event."""
    tab = desktop.tab
    tab.goto("/tail?logger=exact")
    tab.wait_for_selector("#state.on")
    journal.append(
        {
            "type": "order", "logger": "exact", "payload": "many digits", "fields": EXACT, "stream": "exact", "seq": 2**53 + 1,
            "timestamp": datetime.now(UTC).isoformat(),
        }
    )  # fmt: skip
    tab.locator("#events summary").first.click()
    shown = tab.locator("#events pre").nth(1).inner_text()
    assert json.loads(shown) == EXACT
    assert '"id": 1234567890123456789' in shown
    assert '"ms": 15.0' in shown
    assert "id=1234567890123456789" in tab.locator("#events summary small").inner_text()
    assert "/events/exact/9007199254740993?" in tab.locator("#events a").get_attribute("href")

    tab.goto("/events?logger=exact")
    tab.locator("#hits summary").first.click()
    rows = {row.locator("th").inner_text(): row for row in tab.locator("#hits table.fields tr").all()}
    assert [(name, row.locator("td").first.inner_text()) for name, row in rows.items()] == [
        ("id", "1234567890123456789"), ("ids", "[9007199254740993,1]"), ("ms", "15.0"), ("text", EXACT["text"]), ("none", "null"),
        ("x.y", '{"z":2}'), ("a=b", "1"), ("cart.size", "3"), ("cart.lines", "{}"),
    ]  # fmt: skip
    asked = {name: row.locator("button[name=field]").count() for name, row in rows.items()}
    assert asked == {name: 0 if name in {"none", "a=b"} else 2 for name in rows}
    for name in ("id", "ids", "text", "x.y", "cart.lines"):
        tab.goto("/events?logger=exact")
        tab.locator("#hits summary").first.click()
        tab.locator(f"#hits table.fields tr:has(th:text-is('{name}')) button[name=field]").first.click()
        tab.wait_for_url(re.compile("field="))
        whole(tab)
        assert tab.locator("#hits summary").count() == 1, name


def test_a_tail_that_is_refused_says_why_and_can_be_resumed(chromium: Any, folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "page.toml"
    config.write_text("tails = 4\n", "utf-8")  # one each
    with Served(folder, "--config", str(config)) as served:
        first, second = (Visit(chromium, served.address, **SCREENS["desktop"]) for _ in range(2))
        first.tab.goto("/tail")
        first.tab.wait_for_selector("#state.on")
        tab = second.tab
        tab.goto("/tail")
        tab.wait_for_selector("#state:has-text('too many live tails of yours at once')")
        assert tab.inner_text("#pause") == "Resume"
        assert tab.locator("#state a").count() == 0
        first.close()
        for _ in range(200):  # until the page has noticed that the other one has gone
            tab.click("#pause")
            tab.wait_for_selector("#state.on, #state:has-text('too many')")
            if tab.locator("#state.on").count():
                break
            tab.wait_for_timeout(100)
        assert tab.inner_text("#state") == "following"
        assert tab.inner_text("#pause") == "Pause"

        def forgotten(route: Any) -> None:
            route.fulfill(status=401, json={"error": "a token is needed"})

        tab.route("**/api/tail*", forgotten)
        tab.click("#pause")
        tab.click("#pause")
        tab.wait_for_selector("#state:has-text('a token is needed')")
        assert tab.inner_text("#state a") == "log in again"
        assert tab.locator("#state a").get_attribute("href") == tab.url
        second.faults[:] = [fault for fault in second.faults if "429" not in fault and "401" not in fault]
        second.close()


def test_a_search_leads_to_an_event_and_its_neighbours(visit: Visit) -> None:
    tab = visit.tab
    tab.goto("/events?since=14d&type=log+line")
    first = tab.locator("ol.events summary").first
    first.click()
    tab.locator("ol.events details[open] a:has-text('in full')").click()
    tab.wait_for_url(re.compile(r"/events/\w+/\d+"))
    assert tab.locator("li.this").count() == 1
    assert tab.locator("ol.events li").count() >= 20
    picture(visit, "event")


def test_everything_but_the_tail_works_without_javascript(chromium: Any, served: Served, folder: Path) -> None:
    keep_alerts(folder)
    visit = Visit(chromium, served.address, java_script_enabled=False, **SCREENS["desktop"])
    tab = visit.tab
    tab.goto("/reports/request-times")
    tab.click(".clock summary")
    tab.fill("#since", "2d")
    tab.click(".clock button:has-text('Apply')")
    tab.wait_for_url(re.compile("since=2d"))
    assert tab.locator("figure picture img").is_visible()
    tab.goto("/sql")
    tab.fill("#sql", "SELECT 'plain' AS word")
    tab.click("button:has-text('Run')")
    assert tab.inner_text("table.data td") == "plain"
    tab.goto("/")
    tab.click("a:has-text('7d')")
    tab.wait_for_url(re.compile("since=7d"))
    assert tab.locator(".gallery picture img").count() == 3
    tab.click("nav a:has-text('Events')")
    assert "since=7d" in tab.url, "the span goes along"
    tab.fill("#type", "login")
    tab.click("button:has-text('Search')")
    tab.wait_for_url(re.compile("type=login"))
    first = tab.inner_text("ol.events li:first-child summary")
    tab.click("a:has-text('Older events')")
    tab.wait_for_url(re.compile("after="))
    assert tab.inner_text("ol.events li:first-child summary") != first
    tab.locator("ol.events summary").first.click()
    tab.locator("ol.events details[open] a:has-text('in full')").click()
    tab.wait_for_url(re.compile(r"/events/\w+/\d+"))
    tab.goto("/")
    assert "Alert errors-of-the-shop fires" in tab.inner_text("p.notice.bad >> nth=0")
    tab.click("nav a:has-text('Alerts')")
    assert tab.inner_text("table.data tbody tr:first-child td").startswith("errors-of-the-shop")
    tab.goto("/tail")
    assert "needs JavaScript" in tab.inner_text("noscript")
    visit.close()
