"""Saved queries and dashboards: made, shown, changed, renamed and deleted on the page; what is wrong keeps the form."""

from __future__ import annotations

import html
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins
from starlette.testclient import TestClient

from metlog.errors import ConfigError
from metlog.reports.dashboards import Dashboards, check
from metlog.reports.library import Library
from metlog.web.settings import Access, load, token_digest
from tests.helpers.paths import ROOT
from tests.unit.web.conftest import Start

pytestmark = pytest.mark.process

SQL = "SELECT type, sum(weight) AS n FROM events WHERE timestamp >= $since AND severity <= $worst GROUP BY type ORDER BY n DESC"
SAVED = {
    "sql": SQL,
    "p.since": "3d",
    "p.worst": "7",
    "name": "mine",
    "title": "Mine",
    "description": "",
    "chart": "ranked",
    "x": "type",
    "y": "n",
    "series": "",
}


def csrf_of(page: TestClient, **headers: str) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', page.get("/dashboards/new", headers=headers).text)
    assert found is not None
    return found[1]


def test_a_query_is_saved_with_the_parameters_that_it_has(own_page: TestClient, own_data: Path) -> None:
    answer = own_page.post("/sql/save", data={**SAVED, "csrf": csrf_of(own_page)})
    assert (answer.status_code, answer.headers.get("location")) == (303, "/reports/mine")
    report = Library(own_data)["mine"]
    assert report.parameters["since"].default == "3d"
    assert (report.parameters["worst"].type, report.parameters["worst"].default) == ("integer", 7)
    text = own_page.get("/reports/mine").text
    assert re.findall(r'<(?:input|select) id="p-(\w+)"', text) == ["worst"]  # since is the time control's
    assert "varchar" not in text
    assert "/reports/mine/edit" in text


def test_a_saved_query_is_edited_renamed_and_deleted(own_page: TestClient, own_data: Path) -> None:
    csrf = csrf_of(own_page)
    own_page.post("/sql/save", data={**SAVED, "csrf": csrf})
    form = own_page.get("/reports/mine/edit")
    assert html.escape(SQL, quote=False) in form.text
    assert 'name="p.worst" value="7"' in form.text
    changed = {**SAVED, "title": "Ours", "p.worst": "3", "csrf": csrf}
    assert own_page.post("/reports/mine/edit", data=changed).status_code == 303
    assert Library(own_data)["mine"].parameters["worst"].default == 3
    answer = own_page.post("/reports/mine/edit", data={**changed, "name": "ours"})
    assert answer.headers["location"] == "/reports/ours"
    assert [path.name for path in (own_data / "reports").iterdir()] == ["ours.toml"]
    assert own_page.post("/reports/ours/delete", data={"csrf": "x"}).status_code == 403
    assert own_page.post("/reports/ours/delete", data={"csrf": csrf}).status_code == 303
    assert own_page.get("/reports/ours").status_code == 404
    assert list((own_data / "reports").iterdir()) == []


def test_an_edit_keeps_what_the_form_does_not_show(own_page: TestClient, own_data: Path) -> None:
    (own_data / "reports").mkdir()
    text = (
        'title = "Hand"\nsql = "SELECT type, count(*) AS n, sum(severity) AS s FROM events WHERE severity <= $worst GROUP BY type"\n'
        '[parameters.worst]\ntype = "integer"\ndefault = 7\nmin = 0\nmax = 7\nhelp = "How bad"\n'
        '[labels]\nn = "how many"\n'
        '[chart]\nkind = "ranked"\nx = "type"\ny = ["n", "s"]\nunit = "events"\n'
        '[[events]]\ntype = "{type}"\n[[events]]\nwhen = { type = "x" }\n'
        '[empty]\ntext = "Nothing."\ncode = "x = 1"\n'
    )
    (own_data / "reports" / "hand.toml").write_text(text, "utf-8")
    before = Library(own_data)["hand"]
    form = own_page.get("/reports/hand/edit").text
    given = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', form))
    answer = own_page.post(
        "/reports/hand/edit",
        data={**given, "sql": before.sql, "chart": "ranked", "title": "By hand", "csrf": csrf_of(own_page)},
    )
    assert answer.status_code == 303
    after = Library(own_data)["hand"]
    assert after.title == "By hand"
    for name in ("sql", "parameters", "chart_spec", "empty", "labels", "events"):
        assert getattr(after, name) == getattr(before, name), name


def test_an_edit_keeps_the_types_of_parameters(own_page: TestClient, own_data: Path) -> None:
    """Text stays text where it looks like a number; steps and times mean what they mean where the report is run."""
    (own_data / "reports").mkdir()
    text = (
        'title = "Hand"\nsql = "SELECT date_trunc($by, timestamp) AS time, count(*) AS n FROM events WHERE timestamp >= $since '
        'AND timestamp < $until AND timestamp > $later AND payload <> $user AND payload <> $flag AND $yes GROUP BY time"\n'
        '[parameters.user]\ndefault = "007"\n[parameters.flag]\ndefault = "true"\n[parameters.yes]\ntype = "boolean"\ndefault = true\n'
        '[parameters.by]\ntype = "bucket"\ndefault = "auto"\n[parameters.later]\ntype = "time"\ndefault = "2d"\n'
    )
    (own_data / "reports" / "hand.toml").write_text(text, "utf-8")
    before = Library(own_data)["hand"]
    form = own_page.get("/reports/hand/edit").text
    given = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', form))
    answer = own_page.post("/reports/hand/edit", data={**given, "sql": before.sql, "csrf": csrf_of(own_page)})
    assert answer.status_code == 303, answer.text
    assert Library(own_data)["hand"].parameters == before.parameters
    changed = {**given, "sql": before.sql, "csrf": csrf_of(own_page), "p.user": "123", "p.yes": "no"}
    assert own_page.post("/reports/hand/edit", data=changed).status_code == 303
    after = Library(own_data)["hand"].parameters
    assert (after["user"].default, after["yes"].default) == ("123", False)
    wrong = own_page.post("/reports/hand/edit", data={**changed, "p.yes": "perhaps"})
    assert wrong.status_code == 400
    assert "yes = 'perhaps'" in html.unescape(wrong.text)


def test_a_saved_query_keeps_a_text_of_digits(own_page: TestClient, own_data: Path) -> None:
    sql = "SELECT count(*) AS n FROM events WHERE payload = $user"
    given = {"sql": sql, "p.user": '"123"', "name": "digits", "title": "Digits", "csrf": csrf_of(own_page)}
    assert own_page.post("/sql/save", data=given).status_code == 303
    user = Library(own_data)["digits"].parameters["user"]
    assert (user.type, user.default) == ("text", "123")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "unique-users"}, "does not lie in the data folder; choose another name"),
        ({"name": "No Name"}, "lower-case"),
        ({"sql": "SELECT nothing"}, "nothing"),
        ({"x": "nothing"}, "no such column"),
    ],
)
def test_what_is_wrong_is_told_and_the_form_keeps_its_text(
    own_page: TestClient, wrong: dict[str, str], says: str
) -> None:
    csrf = csrf_of(own_page)
    own_page.post("/sql/save", data={**SAVED, "csrf": csrf})
    answer = own_page.post(
        "/sql/save", data={**SAVED, "name": "other", "description": "my own words", **wrong, "csrf": csrf}
    )
    assert answer.status_code == 400
    assert says in html.unescape(answer.text)
    assert "my own words" in answer.text
    again = own_page.post("/sql/save", data={**SAVED, "csrf": csrf})
    assert again.status_code == 400
    assert "choose another name" in again.text


def test_what_comes_with_the_package_is_not_changed(own_page: TestClient) -> None:
    assert own_page.get("/reports/unique-users/edit").status_code == 403
    assert own_page.post("/reports/unique-users/delete", data={"csrf": csrf_of(own_page)}).status_code == 403
    assert "/edit" not in own_page.get("/reports/unique-users").text


TOKENS = {
    token_digest("the-token-of-everybody"): Access("all"),
    token_digest("the-token-of-the-shop-1"): Access("shop", ("shop",), save=True),
    token_digest("the-token-of-a-reader1"): Access("reader", ("shop",), save=False),
}
ALL, SHOP, READER = (
    {"authorization": f"Bearer the-token-of-{name}", "accept": "text/html"}
    for name in ("everybody", "the-shop-1", "a-reader1")
)


def test_who_sees_one_service_changes_what_is_theirs_and_nothing_else(start: Start, own_data: Path) -> None:
    page = start(data=own_data, tokens=TOKENS)
    everybody, shop = csrf_of(page, **ALL), csrf_of(page, **SHOP)
    assert page.post("/sql/save", data={**SAVED, "csrf": everybody}, headers=ALL).status_code == 303
    assert page.post("/sql/save", data={**SAVED, "name": "of-shop", "csrf": shop}, headers=SHOP).status_code == 303
    assert Library(own_data)["of-shop"].loggers == ("shop",)
    assert page.get("/reports/mine/edit", headers=SHOP).status_code == 404
    assert page.get("/reports/of-shop/edit", headers=SHOP).status_code == 200
    assert (
        page.post(
            "/reports/of-shop/edit", data={**SAVED, "name": "of-shop", "csrf": everybody}, headers=ALL
        ).status_code
        == 303
    )
    assert Library(own_data)["of-shop"].loggers == ("shop",)  # also when somebody else changes it
    assert page.get("/reports/of-shop/edit", headers=READER).status_code == 403
    board = {
        "name": "b",
        "title": "B",
        "report0": "of-shop",
        "report1": "events-by-type",
        "show1": "table",
        "csrf": shop,
    }
    assert page.post("/dashboards/new", data=board, headers=SHOP).status_code == 303
    assert "bank" not in page.get("/dashboards/b", headers=SHOP).text
    assert "transfer" not in page.get("/dashboards/b", headers=SHOP).text
    assert "transfer" in page.get("/dashboards/b", headers=ALL).text
    assert page.post("/dashboards/new", data={**board, "name": "c", "report0": "mine"}, headers=SHOP).status_code == 400
    assert (
        page.post(
            "/dashboards/new", data={"name": "all", "title": "All", "report0": "mine", "csrf": everybody}, headers=ALL
        ).status_code
        == 303
    )
    assert page.get("/dashboards/all", headers=SHOP).status_code == 404
    assert "/dashboards/all" not in page.get("/dashboards", headers=SHOP).text
    assert page.get("/dashboards/new", headers=READER).status_code == 403


@pytest.mark.parametrize("who", [ALL, SHOP])
def test_nobody_replaces_on_the_page_what_comes_with_the_package(
    start: Start, own_data: Path, who: dict[str, str]
) -> None:
    """A file in the data folder goes before a built-in report for all who see it; that is for who has the folder."""
    page = start(data=own_data, tokens=TOKENS)
    csrf = csrf_of(page, **who)
    answer = page.post("/sql/save", data={**SAVED, "name": "unique-users", "csrf": csrf}, headers=who)
    assert answer.status_code == 400
    assert page.post("/sql/save", data={**SAVED, "csrf": csrf}, headers=who).status_code == 303
    renamed = page.post("/reports/mine/edit", data={**SAVED, "name": "unique-users", "csrf": csrf}, headers=who)
    assert renamed.status_code == 400
    assert [path.name for path in (own_data / "reports").iterdir()] == ["mine.toml"]
    (own_data / "reports" / "mine.toml").rename(own_data / "reports" / "unique-users.toml")
    page.app.page.caches.libraries.drop(own_data)  # type: ignore[attr-defined]
    changed = page.post("/reports/unique-users/edit", data={**SAVED, "name": "unique-users", "csrf": csrf}, headers=who)
    assert changed.status_code == 303, "one that lies there is changed as before"


BOARD = {
    "name": "shop", "title": "The shop", "description": "", "since": "2d", "report0": "events-by-type", "show0": "both",
    "parameters0": "top=2",
    "report1": "requests-by-hour", "width1": "full", "place1": "0.5",
}  # fmt: skip


def test_a_dashboard_is_made_shown_changed_and_deleted(own_page: TestClient, own_data: Path) -> None:
    csrf = csrf_of(own_page)
    assert own_page.post("/dashboards/new", data=BOARD).status_code == 403
    answer = own_page.post("/dashboards/new", data={**BOARD, "csrf": csrf})
    assert answer.headers["location"] == "/dashboards/shop"
    board = Dashboards(own_data).found["shop"]
    assert [(panel.report, panel.width, panel.parameters) for panel in board.panels] == [
        ("requests-by-hour", "full", {}),
        ("events-by-type", "half", {"top": "2"}),
    ]
    text = own_page.get("/dashboards/shop", params={"since": "1d", "logger": "shop"}).text
    assert "/reports/events-by-type.svg?since=1d&amp;logger=shop&amp;top=2" in text
    assert text.count("<tr>") == 3  # the heading and two rows
    assert "<td>request</td>" in text
    form = own_page.get("/dashboards/shop/edit").text
    assert 'value="top=2"' in form
    renamed = own_page.post("/dashboards/shop/edit", data={**BOARD, "name": "store", "csrf": csrf})
    assert renamed.headers["location"] == "/dashboards/store"
    assert own_page.get("/dashboards/shop").status_code == 404
    assert own_page.post("/dashboards/store/delete", data={"csrf": csrf}).status_code == 303
    assert own_page.get("/dashboards").text.count("There are no dashboards") == 1


def test_everything_of_a_dashboard_in_one_file(own_page: TestClient) -> None:
    own_page.post("/dashboards/new", data={**BOARD, "csrf": csrf_of(own_page)})
    answer = own_page.get("/dashboards/shop.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        names = packed.namelist()
        assert names == [
            f"{stem}.{kind}" for stem in ("01-requests-by-hour", "02-events-by-type") for kind in ("csv", "svg", "png")
        ]
        assert packed.read("01-requests-by-hour.csv").startswith(b"time,served,failed\n")
        assert packed.read("02-events-by-type.png").startswith(b"\x89PNG")


def test_a_dashboard_and_its_charts_ask_once(own_page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    own_page.post("/dashboards/new", data={**BOARD, "show1": "both", "csrf": csrf_of(own_page)})
    lake = own_page.app.page.lake  # type: ignore[attr-defined]
    asked: list[str] = []
    query = lake.query

    def counted(sql: str, *given: Any, **more: Any) -> Any:
        asked.append(sql)
        return query(sql, *given, **more)

    monkeypatch.setattr(lake, "query", counted)
    text = own_page.get("/dashboards/shop").text
    assert text.count('<table class="data">') == 2
    for picture in re.findall(r'<img src="([^"]+)"', text):
        assert own_page.get(html.unescape(picture)).headers["content-type"] == "image/svg+xml"
    assert len(asked) == 2


def test_a_panel_that_is_refused_keeps_the_others(own_page: TestClient, own_data: Path) -> None:
    wrong = {**BOARD, "parameters1": "by=year", "show1": "both"}
    assert own_page.post("/dashboards/new", data={**wrong, "csrf": csrf_of(own_page)}).status_code == 303
    shown = html.unescape(own_page.get("/dashboards/shop").text)
    assert "by = 'year': wants one of" in shown
    assert shown.count('<table class="data">') == 1
    path = own_data / "dashboards" / "shop.toml"
    path.write_text(path.read_text("utf-8") + '[[panels]]\nreport = "gone"\n', "utf-8")
    answer = own_page.get("/dashboards/shop.zip")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.namelist() == [
            "01-requests-by-hour.txt",
            *(f"02-events-by-type.{kind}" for kind in ("csv", "svg", "png")),
            "03.txt",
        ]
        assert packed.read("01-requests-by-hour.txt").startswith(b"by = 'year': wants one of")
        assert packed.read("03.txt") == b"There is no report 'gone' any more.\n"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"report0": "nothing"}, "no such report"), ({"parameters0": "nothing=1"}, "has no parameter"),
        ({"parameters0": "top"}, "NAME=VALUE"),
        ({"name": "../x"}, "lower-case"), ({"report0": "", "report1": ""}, "at least one"), ({"show0": "pie"}, "pie"),
    ],
)  # fmt: skip
def test_a_dashboard_that_cannot_be_is_refused_and_the_form_keeps_its_text(
    own_page: TestClient, wrong: dict[str, str], says: str
) -> None:
    answer = own_page.post(
        "/dashboards/new", data={**BOARD, "title": "My own words", **wrong, "csrf": csrf_of(own_page)}
    )
    assert answer.status_code == 400
    assert says in html.unescape(answer.text)
    assert "My own words" in answer.text


def test_a_dashboard_of_the_configuration_is_shown_and_not_changed(
    start: Start, own_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "boards"
    folder.mkdir()
    (folder / "ops.toml").write_text(
        'title = "Ops"\n[[panels]]\nreport = "events-by-type"\n[[panels]]\nreport = "gone"\n', "utf-8"
    )
    (folder / "bad.toml").write_text('title = "Bad"\n', "utf-8")
    config = tmp_path / "serve.toml"
    config.write_text('dashboards = "boards"\n', "utf-8")
    settings = load(own_data, config=config)
    page = start(data=own_data, dashboards=settings.dashboards)
    assert "wants at least one" in page.get("/dashboards").text
    text = page.get("/dashboards/ops").text
    assert "There is no report" in text
    assert "/edit" not in text
    assert page.get("/dashboards/ops/edit").status_code == 403
    for name in ("ops", "new"):  # nobody would see it
        refused = page.post("/dashboards/new", data={**BOARD, "name": name, "csrf": csrf_of(page)})
        assert refused.status_code == 400
        assert "choose another name" in refused.text
    config.write_text('dashboards = "nowhere"\n', "utf-8")
    with pytest.raises(ConfigError, match="dashboards = 'nowhere': no such folder"):
        load(own_data, config=config)


def test_a_report_is_sorted_by_its_headings_and_downloaded_as_a_picture(page: TestClient) -> None:
    rows = re.findall(
        r"<tr><td[^>]*>(.*?)</td>", page.get("/reports/events-by-type", params={"_sort": "1", "_order": "asc"}).text
    )
    assert rows == sorted(rows)
    for sort in ("9", "²", "9" * 5000):
        assert page.get("/reports/events-by-type", params={"_sort": sort}).status_code == 400
    assert page.get("/reports/events-by-type.png").content.startswith(b"\x89PNG")
    assert page.get("/reports/events-by-type.ndjson").text.startswith('{"type":')


def test_the_dashboard_in_the_documentation_is_one(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "page.md").read_text("utf-8")
    block = re.search(r"```toml\n(# boards/shop\.toml.*?)```", text, re.DOTALL)
    assert block is not None
    (tmp_path / "shop.toml").write_text(block[1], "utf-8")
    found = Dashboards(None, tmp_path)
    assert found.broken == []
    (board,) = found
    check(to_builtins(board), Library())


def board_of(panels: int, **more: str) -> dict[str, str]:
    """The form of a dashboard with so many panels, as the page sends it: with three empty lines."""
    given = {"name": "many", "title": "Many", "description": "", "since": "", "until": "", "tz": "", "logger": ""}
    for number in range(panels + 3):
        given |= {
            f"report{number}": "events-by-type" if number < panels else "", f"title{number}": f"Panel {number}",
            f"parameters{number}": "top=3", f"show{number}": "table", f"width{number}": "half", f"place{number}": str(number + 1),
        }  # fmt: skip
    return {**given, **more}


def test_a_dashboard_has_as_many_panels_as_one_may_have(own_page: TestClient, own_data: Path) -> None:
    csrf = csrf_of(own_page)
    answer = own_page.post("/dashboards/new", data=board_of(50, csrf=csrf))
    assert answer.status_code == 303, answer.text
    assert [panel.title for panel in Dashboards(own_data).found["many"].panels] == [f"Panel {n}" for n in range(50)]
    answer = own_page.post("/dashboards/many/edit", data=board_of(51, csrf=csrf, title51="ü" * 100))
    assert answer.status_code == 400
    assert "a dashboard has at most 50" in html.unescape(answer.text)
    assert 'value="Panel 50"' in answer.text


def test_what_was_typed_stays_when_one_panel_is_wrong(own_page: TestClient) -> None:
    answer = own_page.post("/dashboards/new", data=board_of(3, csrf=csrf_of(own_page), parameters1="top"))
    assert answer.status_code == 400
    assert "parameters of events-by-type = 'top'" in html.unescape(answer.text)
    assert [f'value="Panel {n}"' in answer.text for n in range(4)] == [True, True, True, False]
    assert re.findall(r'name="parameters\d" value="([^"]+)"', answer.text) == ["top=3", "top", "top=3"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name=%ff", "it is not UTF-8"), (b"name=\xff", "it is not UTF-8"),
        (b"&".join(b"a%d=1" % n for n in range(401)), "too many fields: wants at most 400"),
    ],
)  # fmt: skip
def test_a_form_that_cannot_be_read_says_why(page: TestClient, content: bytes, says: str) -> None:
    answer = page.post(
        "/dashboards/new", content=content, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 400
    assert says in html.unescape(answer.text)
