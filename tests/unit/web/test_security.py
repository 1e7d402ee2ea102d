"""Who gets in, from where, and what is on every answer."""

from __future__ import annotations

import html
import ipaddress
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from metlog.errors import ConfigError
from metlog.web.settings import Access, WebSettings, load, token_digest
from tests.helpers.paths import ROOT
from tests.helpers.webdata import HTML

pytestmark = pytest.mark.process

Starter = Callable[..., TestClient]

TOKEN = "a-token-that-sees-everything"
SHOP = "a-token-that-sees-the-shop"
TOKENS = {token_digest(TOKEN): Access("all"), token_digest(SHOP): Access("shop", ("shop",), save=False)}
BEARER = {"authorization": f"Bearer {TOKEN}", "accept": "application/json"}
SHOP_BEARER = {"authorization": f"Bearer {SHOP}", "accept": "application/json"}
PAGES = ["/", "/reports", "/events", "/tail", "/sql", "/api/reports", "/api/events", "/metrics", "/healthz", "/nowhere"]


@pytest.fixture(scope="module")
def locked(share: Starter) -> TestClient:
    """A page that wants a token, for tests that give it none."""
    return share(tokens=TOKENS)


@pytest.mark.parametrize("path", [*PAGES, "/login", "/sql?sql=nonsense"])
def test_every_answer_has_the_policy_and_is_not_cached(page: TestClient, path: str) -> None:
    headers = page.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_refusals_of_the_gate_have_the_policy_too(page: TestClient) -> None:
    answer = page.get("/", headers={"host": "evil.example"})
    assert answer.status_code == 403
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/reports", "/events", "/tail", "/sql?sql=SELECT+1"])
def test_pages_have_no_inline_script_or_style(page: TestClient, path: str) -> None:
    text = page.get(path).text
    assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>|<style|\"javascript:", text)
    names: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: names.update(name for name, _ in attrs)  # type: ignore[method-assign]
    parser.feed(text)
    assert "href" in names
    assert not [name for name in names if name == "style" or name.startswith("on")]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8565", 200), ("localhost", 200), ("[::1]:8565", 200), ("LOCALHOST.:80", 200),
        ("evil.example", 403), ("localhost.evil.example", 403), ("10.0.0.1", 403), ("127.0.0.1@evil.example", 403), ("", 403),
        ("127.0.0.1:port", 403), ("[::1", 403),
    ],
)  # fmt: skip
def test_on_loopback_only_loopback_names_are_answered(page: TestClient, host: str, status: int) -> None:
    assert page.get("/healthz", headers={"host": host}).status_code == status


def test_a_host_name_can_be_allowed(start: Starter) -> None:
    page = start(allowed_hosts=("logs.example.org",))
    assert page.get("/", headers={"host": "logs.example.org"}).status_code == 200
    assert page.get("/", headers={"host": "example.org"}).status_code == 403


def test_other_machines_may_use_the_address(start: Starter) -> None:
    page = start(host="0.0.0.0", tokens=TOKENS)
    assert page.get("/api/reports", headers={**BEARER, "host": "192.0.2.7:8565"}).status_code == 200
    assert page.get("/api/reports", headers={**BEARER, "host": "rebound.example"}).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, 200),
        ({"sec-fetch-site": "none"}, 200),
    ],
)
def test_other_sites_may_link_and_no_more(page: TestClient, headers: dict[str, str], status: int) -> None:
    assert page.get("/api/events", headers=headers).status_code == status


def test_a_link_from_another_site_does_not_run_its_query(page: TestClient) -> None:
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert "was not run" in page.get("/sql", params={"sql": "SELECT 41 + 1"}, headers=foreign).text
    assert (
        ">42</td>" in page.get("/sql", params={"sql": "SELECT 41 + 1"}, headers={"sec-fetch-site": "same-origin"}).text
    )


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://["])
def test_a_post_from_another_origin_is_refused(page: TestClient, origin: str) -> None:
    answer = page.post("/api/query", json={"sql": "SELECT 1"}, headers={"origin": origin})
    assert (answer.status_code, answer.json()["kind"]) == (403, "origin")
    assert (
        page.post("/api/query", json={"sql": "SELECT 1"}, headers={"origin": "http://127.0.0.1:8565"}).status_code
        == 200
    )


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/healthz"])
def test_without_a_token_nothing_is_shown(locked: TestClient, path: str) -> None:
    as_program = locked.get(path, headers={"accept": "application/json"})
    assert as_program.status_code == 401
    assert as_program.headers["www-authenticate"].startswith("Bearer")
    assert "error" in as_program.json()
    assert locked.get("/healthz").status_code == 200


def test_a_reader_is_sent_to_the_login_and_back(start: Starter) -> None:
    page = start(tokens=TOKENS)
    sent = page.get("/events?type=request")
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Fevents%3Ftype%3Drequest")
    form = page.get(sent.headers["location"])
    csrf = re.search(r'name="csrf" value="(\w+)"', form.text)
    assert csrf is not None
    assert html.unescape(re.search(r'name="next" value="([^"]*)"', form.text)[1]) == "/events?type=request"  # type: ignore[index]
    answer = page.post("/login", data={"csrf": csrf[1], "next": "/events?type=request", "token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/events?type=request")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    text = page.get("/events").text
    assert "GET /120" in text
    csrf = re.search(r'name="csrf" value="(\w+)"', text)
    assert csrf is not None
    session = page.cookies["metlog_session"]
    assert page.post("/logout", data={"csrf": csrf[1]}).status_code == 303
    page.cookies.set("metlog_session", session)
    assert page.get("/api/events").status_code == 401, "the session is over on this side too"


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\tx"]
)
def test_the_login_leads_to_no_other_site(locked: TestClient, target: str) -> None:
    assert 'name="next" value="/"' in locked.get("/login", params={"next": target}).text


def test_wrong_tokens_are_limited(start: Starter) -> None:
    page = start(tokens=TOKENS)
    statuses = [page.get("/api/reports", headers={"authorization": f"Bearer wrong{n}"}).status_code for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert page.get("/api/reports", headers=BEARER).status_code == 200, "behind a proxy one address is everybody"


def test_login_without_its_form_is_refused(start: Starter) -> None:
    assert start(tokens=TOKENS).post("/login", data={"token": TOKEN}).status_code == 403


def test_a_limited_token_sees_its_services_only(start: Starter) -> None:
    page = start(tokens=TOKENS)
    everything = page.post(
        "/api/query", json={"sql": "SELECT DISTINCT logger FROM events ORDER BY 1"}, headers=BEARER
    ).json()
    assert everything["rows"] == [["bank"], ["shop"]]
    for sql, rows in (
        ("SELECT DISTINCT logger FROM events", [["shop"]]),
        ("SELECT count(*) FROM events WHERE logger = 'bank'", [[0]]),
        ("SELECT DISTINCT logger FROM delivery", [["shop"]]),
        ("SELECT DISTINCT logger FROM arrivals", [["shop"]]),
        ("WITH x AS (SELECT * FROM events) SELECT count(*) FROM x WHERE payload LIKE 'secret%'", [[0]]),
    ):
        assert page.post("/api/query", json={"sql": sql}, headers=SHOP_BEARER).json()["rows"] == rows
    assert page.get("/api/events?logger=bank", headers=SHOP_BEARER).json()["events"] == []
    assert page.get("/events/bank1/1", headers=SHOP_BEARER).status_code == 404
    assert page.get("/events/bank1/1", headers=BEARER).status_code == 200
    for headers, listed in ((BEARER, True), (SHOP_BEARER, False)):
        assert (
            "<summary>files</summary>" in page.get("/sql", headers={**headers, "accept": "text/html"}).text
        ) == listed
    assert page.post("/api/query", json={"sql": "FROM files"}, headers=SHOP_BEARER).status_code == 400
    overview = page.get("/", headers={**SHOP_BEARER, "accept": "text/html"}).text
    assert "bank" not in overview
    assert "Listener" not in overview


def test_what_everybody_was_just_shown_does_not_reach_a_limited_token(start: Starter) -> None:
    """The same address a moment later: results are kept for some seconds, but not for others."""
    page = start(tokens=TOKENS)
    secret = ("bank", "transfer", "secret")
    for path in (
        "/", "/?span=1h", "/events?logger=bank", "/events?type=transfer", "/events?q=secret", "/api/events?limit=500",
        "/reports/events-by-type", "/reports/events-by-type.svg", "/reports/events-by-type.csv", "/api/reports/events-by-type",
        "/reports/delivery", "/api/reports/delivery-by-minute", "/sql?sql=FROM+events", "/sql/result.csv?sql=FROM+events",
        "/sql/result.json?sql=FROM+arrivals", "/sql/result.csv?sql=FROM+delivery", "/events/bank1/1",
        "/sql?sql=SELECT+CAST(payload+AS+INT)+FROM+events+WHERE+severity=3",
    ):  # fmt: skip
        everything = page.get(path, headers={**BEARER, "accept": "text/html"}).text
        assert any(word in everything for word in secret), f"{path}: so this test can fail"
        asked = page.get(path, headers={**SHOP_BEARER, "accept": "text/html"}).text
        asked = asked.replace(path.partition("?")[2] or "\0", "")  # a page repeats the question, in its links too
        shown = (
            re.sub(r"(?s)<form.*?</form>|<p class=.chips.*?</p>", "", asked)
            .replace("/bank1/1", "")
            .replace("the stream &#39;bank1&#39;", "")
        )
        assert [word for word in secret if word in shown] == [], path


def test_a_proxy_that_is_trusted_names_the_user(start: Starter) -> None:
    networks = (ipaddress.ip_network("10.1.0.0/16"),)
    users = {"ada": Access("ada"), "sam": Access("sam", ("shop",))}
    settings = {"host": "0.0.0.0", "user_header": "X-Remote-User", "trusted_proxies": networks}
    proxy = start(**settings, users=users, client=("10.1.2.3", 40000))
    count = {"sql": "SELECT count(DISTINCT logger) FROM events"}
    assert proxy.post("/api/query", json=count, headers={"x-remote-user": "ada"}).json()["rows"] == [[2]]
    assert proxy.post("/api/query", json=count, headers={"x-remote-user": "sam"}).json()["rows"] == [[1]]
    assert proxy.get("/api/reports", headers={"x-remote-user": "eve"}).status_code == 403
    assert proxy.get("/api/reports").status_code == 401
    direct = start(**settings, client=("10.2.0.1", 40000))
    assert direct.get("/api/reports", headers={"x-remote-user": "ada"}).status_code == 401


def test_html_in_events_stays_text(page: TestClient, data: Path) -> None:
    for path in (
        "/events?logger=bank",
        "/events?type=" + HTML.replace("<", "%3C"),
        "/",
        "/events/bank1/2",
        "/events?logger=shop",
    ):
        text = page.get(path).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in page.get("/events?logger=bank").text
    text = page.get(
        "/sql",
        params={"sql": f"SELECT payload, '{HTML.replace(chr(39), '')}' AS \"<b>\" FROM events WHERE type = 'html'"},
    ).text
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "<script>alert" not in page.get("/sql", params={"sql": f'SELECT "{HTML}'}).text


def test_a_report_is_saved_only_through_its_form(own_page: TestClient, own_data: Path) -> None:
    sql = "SELECT type, sum(weight) AS events FROM events GROUP BY type"
    fields = {"sql": sql, "name": "by-type", "title": "By type", "chart": "ranked", "x": "type", "y": "events"}
    assert own_page.post("/sql/save", data=fields).status_code == 403
    csrf = re.search(r'name="csrf" value="(\w+)"', own_page.get("/sql", params={"sql": sql}).text)
    assert csrf is not None
    cross = own_page.post("/sql/save", data={**fields, "csrf": csrf[1]}, headers={"origin": "http://evil.example"})
    assert cross.status_code == 403
    assert not (own_data / "reports").exists()
    answer = own_page.post("/sql/save", data={**fields, "csrf": csrf[1]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/reports/by-type")
    assert (own_data / "reports" / "by-type.toml").is_file()
    assert "By type" in own_page.get("/reports").text
    assert own_page.post("/sql/save", data={**fields, "csrf": csrf[1]}).status_code == 400, "a name is not taken twice"
    for wrong in ({"name": "../evil"}, {"sql": "DROP TABLE events"}, {"chart": "pie"}, {"x": "nope"}):
        assert own_page.post("/sql/save", data={**fields, "name": "other", "csrf": csrf[1], **wrong}).status_code == 400
    assert [path.name for path in (own_data / "reports").iterdir()] == ["by-type.toml"]


def test_a_read_only_page_saves_nothing(start: Starter, data: Path) -> None:
    page = start(save=False)
    text = page.get("/sql", params={"sql": "SELECT 1 AS one"}).text
    assert "Save as a report" not in text
    assert not re.search(r'name="csrf"', text)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"host": "0.0.0.0"}, "--token-file"),
        ({"token": "short"}, "at least 16"),
        ({"trusted_proxies": ["10.0.0.1"]}, "user_header"),
        ({"user_header": "X-User", "trusted_proxies": ["nonsense"]}, "'nonsense'"),
        ({"user_header": "bad header"}, "name of a header"),
    ],
)
def test_settings_that_would_be_open_are_refused(tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        load(tmp_path, **given)  # type: ignore[arg-type]


def test_the_file_of_settings_is_checked_whole(tmp_path: Path) -> None:
    file = tmp_path / "page.toml"
    file.write_text('[[tokens]]\nname = "a"\n[[tokens]]\nsha256 = "zz"\n[[users]]\nname = "x"\n')
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, config=file)
    assert len(caught.value.problems) == 3
    file.write_text(
        f'host = "0.0.0.0"\n[[tokens]]\nname = "shop"\nsha256 = "{token_digest(SHOP).hex()}"\nloggers = ["shop"]\n'
    )
    settings = load(tmp_path, config=file)
    assert settings.tokens[token_digest(SHOP)] == Access("shop", ("shop",), save=False)
    file.write_text("colour = 1\n")
    with pytest.raises(ConfigError, match="colour"):
        load(tmp_path, config=file)


def test_the_file_of_settings_in_the_documentation_is_one(tmp_path: Path) -> None:
    """And the values that it calls the defaults are those."""
    text = (ROOT / "docs" / "page.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(# metlog serve .*?)```", text, re.DOTALL)
    file = tmp_path / "page.toml"
    file.write_text(block)
    found, plain = load(tmp_path, config=file), WebSettings(data=tmp_path)
    same = ("timeout", "memory", "spill", "workers", "waiting", "rows", "max_rows", "export_bytes", "tails", "save")
    assert {name: getattr(found, name) for name in same} == {name: getattr(plain, name) for name in same}
    assert all(f"\n{name} = " in block for name in same)
    assert {access.loggers for access in found.tokens.values()} == {None, ("shop", "shop-worker")}
    assert (found.user_header, list(found.users)) == ("X-Remote-User", ["ada"])


@pytest.mark.parametrize(
    ("text", "whose"), [('sender = "udp:"', "a sender"), ('[[inputs]]\nname = "udp"', "a listener")]
)
def test_the_configuration_of_another_program_is_told_as_that(tmp_path: Path, text: str, whose: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"this is the configuration of {whose}") as caught:
        load(tmp_path, config=file)
    assert len(caught.value.problems) == 1
