"""The page of SQL: results for reading, sorting, parameters, charts, the words of a query, and queries that take their time."""

from __future__ import annotations

import html
import re
import threading

import pytest
from starlette.testclient import TestClient

from metlog.web.console import Query, typed
from metlog.web.errors import Refused
from tests.helpers.waiting import wait_for
from tests.unit.web.conftest import Start

pytestmark = pytest.mark.process

ENDLESS = "SELECT count(*) FROM events, range(100000000000) r WHERE r.range % 7 = severity"


def shown(page: TestClient, sql: str, status: int = 200, **more: str) -> str:
    """The page of the result: on a busy machine it comes after one that says that it waits."""
    given = {"sql": sql, **more}
    answer = wait_for(lambda: got if (got := page.get("/sql", params=given)).status_code != 202 else None)
    assert answer is not None
    assert answer.status_code == status
    return answer.text


def columns(text: str) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'<th scope="col"[^>]*><a [^>]*>([^<]*)</a>', text)]


def cells(text: str) -> list[list[str]]:
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [html.unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in body.split("</tr>")[:-1]
    ]


def test_whole_events_begin_with_the_columns_that_matter_and_list_their_fields(page: TestClient) -> None:
    text = shown(page, "SELECT * FROM events WHERE logger = 'bank' AND type = 'transfer'")
    assert columns(text)[:7] == ["timestamp", "logger", "type", "severity", "payload", "fields", "tokens"]
    assert len(columns(text)) == 17
    assert "<dt>amount</dt><dd>5</dd>" in text
    assert "<dt>deep</dt>" in text


def test_numbers_are_grouped_but_for_those_that_are_names_and_null_is_empty(page: TestClient) -> None:
    text = shown(
        page,
        "SELECT 1234567 AS events, 4102 AS pid, 27.29314::DOUBLE AS ms, 0.0312512::DOUBLE AS least, NULL AS nothing, true AS yes",
    )
    assert cells(text) == [["1,234,567", "4102", "27.29", "0.03125", "", "true"]]


def test_a_heading_sorts_the_whole_result_and_not_the_rows_shown(share: Start) -> None:
    page = share(rows=3)
    sql = "SELECT range AS n, 100 - range AS m FROM range(50); "
    text = shown(page, sql)
    assert cells(text) == [["0", "100"], ["1", "99"], ["2", "98"]]
    link = html.unescape(re.findall(r'<th scope="col"[^>]*><a href="([^"]*)"', text)[0])
    assert "order=desc" in link  # of numbers the largest first
    sorted_text = page.get(link).text
    assert cells(sorted_text) == [["49", "51"], ["48", "52"], ["47", "53"]]
    assert 'aria-sort="descending"' in sorted_text
    again = html.unescape(re.findall(r'<th scope="col"[^>]*><a href="([^"]*)"', sorted_text)[0])
    assert "order=asc" in again


@pytest.mark.parametrize(
    ("sort", "order"),
    [("0", "asc"), ("x", "asc"), ("1", "up"), ("1;DROP", "asc"), ("99999", "asc"), ("²", "asc"), ("9" * 5000, "asc")],
)
def test_a_sort_that_is_none_is_refused(page: TestClient, sort: str, order: str) -> None:
    assert page.get("/sql", params={"sql": "SELECT 1", "sort": sort, "order": order}).status_code == 400


def test_only_the_parameters_that_the_query_has_are_asked_for(page: TestClient) -> None:
    sql = "SELECT count(*) AS n FROM events WHERE timestamp >= $since AND logger = $service AND severity <= $worst"
    text = shown(page, sql, **{"p.since": "1h", "p.service": "bank", "p.worst": "3"})
    assert cells(text) == [["1"]]
    assert re.findall(r'id="p-\w+" name="(p\.\w+)" value="([^"]*)"', text) == [
        ("p.service", "bank"),
        ("p.since", "1h"),
        ("p.worst", "3"),
    ]
    assert "p.until" not in text
    assert (
        page.get("/sql/result.csv", params={"sql": sql, "p.since": "1h", "p.service": "bank", "p.worst": "3"}).text
        == "n\n1\n"
    )
    assert "wants a time" in shown(page, sql, 400, **{"p.since": "whenever"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ("-2", -2), ("1.5", 1.5), ("true", True), ("u1", "u1"), ("", ""), (" 5", " 5"), ("nan", "nan"), ("1e3", 1000.0),
        (".5", 0.5), ("007", "007"), ("1_000", "1_000"), ("٣", "٣"), ("9" * 38, int("9" * 38)),
        ("9" * 5000, "9" * 5000), ("1e999", "1e999"),
        ('"123"', "123"), ('"true"', "true"), ('"u1"', "u1"), ('""', ""), ('"', '"'), ('""123""', '"123"'),
    ],
)  # fmt: skip
def test_a_parameter_is_a_number_where_its_text_is_one_and_no_quotes_are_around_it(text: str, value: object) -> None:
    assert (typed(text), type(typed(text))) == (value, type(value))


def test_a_parameter_in_quotes_is_compared_as_text(page: TestClient) -> None:
    sql = "SELECT count(*) AS n FROM (VALUES ('123'), ('u1'), ('0123')) t(user) WHERE user = $user"
    assert cells(shown(page, sql, **{"p.user": '"123"'})) == [["1"]]
    said = html.unescape(shown(page, sql, 400, **{"p.user": "123"}))
    assert '<code>"123"</code>, in double quotes, is a text' in said
    assert "in double quotes" not in shown(page, "SELECT nothing + $user", 400, **{"p.user": "123"})
    found = page.get("/sql/result.csv", params={"sql": sql, "p.user": '"123"'})
    assert found.text == "n\n1\n"


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="tz = 'Nowhere'"):
        Query.of({"sql": "SELECT $tz", "p.tz": "Nowhere"}).values()


CHART = {
    "sql": "SELECT date, type, count(*) AS n FROM events GROUP BY ALL",
    "chart": "bars",
    "x": "date",
    "y": "n",
    "series": "type",
}


def test_any_result_has_a_chart(page: TestClient) -> None:
    text = shown(page, **CHART)
    assert "/sql/chart.svg?" in text
    spec = page.get("/sql/chart.json", params=CHART).json()["chart"]
    assert spec["encoding"]["color"]["field"] == "type"
    assert spec["encoding"]["x"]["title"] == "day, UTC"
    svg = page.get("/sql/chart.svg", params={**CHART, "_size": "phone"})
    assert (svg.status_code, svg.headers["content-type"]) == (200, "image/svg+xml")
    png = page.get("/sql/chart.png", params={**CHART, "_download": "1"})
    assert png.content.startswith(b"\x89PNG")
    assert png.headers["content-disposition"] == 'attachment; filename="metlog.png"'


@pytest.mark.parametrize("wrong", [{"chart": "pie"}, {"x": "nothing"}, {"series": "nothing"}, {"y": ""}])
def test_a_chart_of_what_is_not_there_is_refused_beside_the_table(page: TestClient, wrong: dict[str, str]) -> None:
    assert page.get("/sql/chart.json", params={**CHART, **wrong}).status_code == 400
    text = shown(page, **{**CHART, **wrong})
    assert "<tbody>" in text
    assert 'role="alert"' in text


def test_a_chart_is_suggested(page: TestClient) -> None:
    text = shown(page, CHART["sql"])
    for name, value in (("chart", "bars"), ("x", "date"), ("y", "n"), ("series", "type")):
        assert re.search(
            rf'id="c-{name}".*?<option[^>]*selected>{value if name != "chart" else ""}', text, re.DOTALL
        ), name


def test_the_words_of_a_query(page: TestClient) -> None:
    found = page.get("/api/schema").json()
    assert {"name": "severity", "type": "TINYINT"} in found["views"]["events"]
    assert "date_trunc" in found["functions"]
    assert "read_text" not in found["functions"]
    assert "GROUP BY" in found["keywords"]
    fields = {field["name"]: field for field in found["fields"]}
    assert fields["amount"]["type"] in {"bigint", "ubigint"}
    assert 0 < fields["amount"]["share"] < 0.1


def test_the_words_of_somebody_who_sees_one_service_are_of_that_service(share: Start) -> None:
    from metlog.web.settings import Access, token_digest

    page = share(tokens={token_digest("the-token-of-the-shop-1"): Access("shop", ("shop",))})
    found = page.get("/api/schema", headers={"authorization": "Bearer the-token-of-the-shop-1"}).json()
    assert "files" not in found["views"]
    assert "amount" not in [field["name"] for field in found["fields"]]


def test_a_long_query_says_how_long_it_runs_and_can_be_cancelled(share: Start) -> None:
    page = share()
    answer = page.get("/sql", params={"sql": ENDLESS})
    assert answer.status_code == 202
    assert "r.range % 7 = severity" in answer.text
    job = re.search(r'data-job="(/jobs/[\w-]+)"', answer.text)
    csrf = re.search(r'name="csrf" value="(\w+)"', answer.text)
    back = re.search(r'name="back" value="([^"]*)"', answer.text)
    assert job is not None
    assert csrf is not None
    assert back is not None
    told = page.get(job[1]).json()
    assert told["state"] == "running"
    assert told["seconds"] >= 1
    assert page.post(f"{job[1]}/cancel", data={"back": html.unescape(back[1])}).status_code == 403
    ended = page.post(f"{job[1]}/cancel", data={"csrf": csrf[1], "back": html.unescape(back[1])})
    assert ended.status_code == 303
    said = page.get(ended.headers["location"])
    assert said.status_code == 400
    assert "was cancelled" in said.text


def test_a_quick_query_is_asked_anew_each_time(page: TestClient) -> None:
    first, second = (cells(shown(page, "SELECT now() AS t")) for _ in range(2))
    assert first != second


def test_a_query_that_nobody_waits_for_any_more_ends(share: Start) -> None:
    page = share()
    page.app.page.jobs._abandoned = 0.5  # type: ignore[attr-defined]
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(page.get("/sql", params={"sql": ENDLESS}).status_code))
    thread.start()
    thread.join(60)
    assert answers == [202]
    wait_for(lambda: page.app.page.pool.inside == 0, seconds=30)  # type: ignore[attr-defined]
