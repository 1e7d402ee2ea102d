"""What times and parameters mean, and what is said about those that mean nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from metlog.errors import ConfigError
from metlog.reports import Library, Report
from metlog.reports.times import moment, zone

NOW = datetime(2026, 3, 12, 9, 30, 15, 250, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "tz", "meant"),
    [
        ("now", "UTC", "2026-03-12T09:30:15.000250"),
        ("90s", "UTC", "2026-03-12T09:28:45.000250"),
        ("15m", "Asia/Tokyo", "2026-03-12T09:15:15.000250"),
        ("24h", "UTC", "2026-03-11T09:30:15.000250"),
        ("-24h", "UTC", "2026-03-11T09:30:15.000250"),
        ("7d", "UTC", "2026-03-05T00:00:00"),
        ("2w", "UTC", "2026-02-26T00:00:00"),
        ("today", "UTC", "2026-03-12T00:00:00"),
        ("today", "Asia/Tokyo", "2026-03-11T15:00:00"),
        ("today", "America/Los_Angeles", "2026-03-12T07:00:00"),
        ("Yesterday", "UTC", "2026-03-11T00:00:00"),
        ("tomorrow", "UTC", "2026-03-13T00:00:00"),
        ("2026-03-01", "UTC", "2026-03-01T00:00:00"),
        ("2026-03-01", "Europe/Berlin", "2026-02-28T23:00:00"),
        ("2026-07-01", "Europe/Berlin", "2026-06-30T22:00:00"),
        ("2026-03-01T06:30", "Europe/Berlin", "2026-03-01T05:30:00"),
        ("2026-03-01 06:30", "UTC", "2026-03-01T06:30:00"),
        ("2026-03-01T06:30+05:30", "Europe/Berlin", "2026-03-01T01:00:00"),
        ("2026-03-01T06:30Z", "Europe/Berlin", "2026-03-01T06:30:00"),
        # The clocks went forward on 8 March in New York: 5 days ago the day began an hour later in UTC.
        ("5d", "America/New_York", "2026-03-07T05:00:00"),
        ("3d", "America/New_York", "2026-03-09T04:00:00"),
        # An hour that comes twice is the first; one that does not come is where the clock would have stood.
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00"),
        ("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:30:00"),
        # Midnight that does not come: the day begins at one o'clock.
        ("2026-03-29", "Asia/Beirut", "2026-03-28T22:00:00"),
    ],
)
def test_a_time_means(text: str, tz: str, meant: str) -> None:
    assert moment(text, zone(tz), "since", NOW) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "30", "d30", "3y", "2026-13-01", "2026-02-30", "last week", "99999999d", "9999999w"]
)
def test_what_is_no_time_is_told_with_those_that_are(text: str) -> None:
    with pytest.raises(ConfigError, match=r"since = '.*': wants a time: now, today, yesterday, 15m, 24h, 30d"):
        moment(text, zone("Asia/Tokyo"), "since", NOW)


@pytest.mark.parametrize("tz", ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01", "0001-01-01T00:00Z", "0001-01-02", "1899-12-31T10:00Z", "2201-01-01T15:00Z", "9999-12-31T23:59", "9999-12-31T23:59Z",
        "999999d", "999999w", "700000d",
    ],
)  # fmt: skip
def test_a_time_near_an_end_of_the_calendar_is_told_with_the_years_that_there_are(text: str, tz: str) -> None:
    with pytest.raises(ConfigError, match=r"since = '.*': wants a time of the years 1900 to 2200"):
        moment(text, zone(tz), "since", NOW)


@pytest.mark.parametrize(
    "text", ["1900-01-02", "2200-12-31", "45000d", "1900-01-01T00:00Z", "2200-12-31T23:59:59.999999Z"]
)
def test_times_within_these_years_are_times(text: str) -> None:
    for tz in ("UTC", "America/New_York", "Pacific/Kiritimati"):
        assert 1900 <= moment(text, zone(tz), "since", NOW).year <= 2200


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "/etc/localtime", "Europe/Berlin\x00", "UTC+1"])
def test_what_is_no_time_zone_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match="no such time zone; a name is Area/City, such as Europe/Berlin"):
        zone(name)


REPORT = Report.from_toml("mine", '''
title = "Mine"
sql = "SELECT $n AS n, $ratio AS ratio, $flag AS flag, $pick AS pick, $by AS by, $at AS at FROM events WHERE logger = $logger"
[parameters]
n = {type = "integer", default = 5, min = 1, max = 1000}
ratio = {type = "number", default = 0.5, min = 0}
flag = {type = "boolean", default = false}
pick = {type = "choice", default = "a", choices = ["a", "b"]}
by = {type = "bucket", default = "auto"}
at = {type = "time", default = "1d"}
''')  # fmt: skip


def test_parameters_are_converted_by_their_types() -> None:
    values = REPORT.values(
        {"n": "7", "ratio": "1.5", "flag": "Yes", "pick": "b", "at": "2026-03-01", "since": "2d"}, NOW
    )
    assert (values["n"], values["ratio"], values["flag"], values["pick"]) == (7, 1.5, True, "b")
    assert values["at"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert values["by"] == "hour"


@pytest.mark.parametrize(
    ("since", "by"),
    [
        ("2h", "minute"),
        ("3h", "minute"),
        ("4h", "hour"),
        ("3d", "hour"),
        ("7d", "day"),
        ("100d", "day"),
        ("52w", "week"),
    ],
)
def test_auto_is_a_step_that_gives_a_chart_some_dozens(since: str, by: str) -> None:
    assert REPORT.values({"since": since}, NOW)["by"] == by


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": "7.5"}, "n = '7.5': wants a whole number"),
        ({"n": "0"}, "n = '0': wants 1 to 1000"),
        ({"n": "1001"}, "n = '1001': wants 1 to 1000"),
        ({"ratio": "much"}, "ratio = 'much': wants a number"),
        ({"ratio": "-1"}, "ratio = '-1': wants 0 or more"),
        ({"ratio": "nan"}, "ratio = 'nan': wants a finite number"),
        ({"flag": "maybe"}, "flag = 'maybe': wants true or false"),
        ({"pick": "c"}, "pick = 'c': wants one of a, b"),
        ({"by": "year"}, "by = 'year': wants one of auto, minute, hour, day, week, month"),
        ({"sinc": "1d"}, "sinc: report 'mine' has no such parameter; did you mean 'since'?"),
        (
            {"zzz": "1d"},
            "zzz: report 'mine' has no such parameter; there is at, by, flag, logger, n, pick, ratio, since, tz, until",
        ),
        ({"since": "now", "until": "1d"}, "since = 2026-03-12T09:30:15Z: not before until = 2026-03-11T00:00:00Z"),
        ({"since": "tomorrow"}, "not before until"),
        ({"tz": "Mars"}, "tz = 'Mars': no such time zone"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value_and_what_would_be_right(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        REPORT.values(given, NOW)
    assert said in str(caught.value)


def test_a_service_is_refused_where_the_report_cannot_go_by_it() -> None:
    with pytest.raises(ConfigError, match="logger = 'x': report 'volume' is of all services together"):
        Library()["volume"].values({"logger": "x"}, NOW)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sql = 'SELECT 1'", "title"),
        ("title = 'T'", "sql"),
        ("title = 'T'\nsql = 'SELECT 1'\nsinse = '1d'", "sinse"),
        ("title = 'T'\nsql = 'DROP TABLE events'", "r.toml: sql:"),
        ("title = 'T'\nsql = 'SELECT 1 FROM events; SELECT 2'", "r.toml: sql:"),
        ("title = 'T'\nsql = \"SELECT * FROM read_csv('/etc/passwd')\"", "r.toml: sql:"),
        ("title = 'T'\nsql = 'SELECT $x'", "sql uses $x, which is not among its parameters"),
        ("title = 'T'\nsql = 'SELECT 1'\n[parameters.x]", "parameters.x: the sql does not use $x"),
        ("title = 'T'\nsql = 'SELECT $x'\n[parameters.x]\ntype = 'choice'", "parameters.x: a choice needs `choices`"),
        ("title = 'T'\nsql = 'SELECT $x'\n[parameters.x]\ntype = 'integer'\ndefault = 'a'", "default of parameters.x = 'a'"),
        ("title = 'T'\nsql = 'SELECT 1'\n[chart]\nkind = 'pie'\nx = 'a'\ny = ['b']", "pie"),
        ("title = ", "r.toml"),
    ],
)  # fmt: skip
def test_a_fault_in_a_report_s_file_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Report.from_toml("r", text, "r.toml")
    assert said in str(caught.value)
