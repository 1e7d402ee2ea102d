"""`[[alerts]]` and `[alerting]`: every fault is named with its key, its value and what would be right."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from metlog.alerts.config import AlertSettings, alerts_of
from metlog.errors import ConfigError, Problems
from metlog.listener.config import from_mapping
from tests.helpers.paths import ROOT

GOOD: dict[str, Any] = {"name": "errors", "where": "severity <= 3", "when": "value > 10"}


def read(*alerts: dict[str, Any], in_listener: bool = True, **alerting: Any) -> AlertSettings:
    problems = Problems()
    found = alerts_of({"alerts": list(alerts), "alerting": alerting}, None, problems, in_listener=in_listener)
    problems.check()
    return found


def test_times_are_spelt_as_everywhere_and_for_is_for() -> None:
    (made,) = read({**GOOD, "every": "30s", "window": "1h", "for": "5m", "repeat": "4h"}).alerts
    alert = made.alert
    assert (alert.every, alert.window, alert.for_, alert.repeat) == (30, 3600, 300, 14_400)


def test_targets_of_alerting_are_those_of_alerts_that_name_none() -> None:
    hook = {"name": "webhook", "url": "http://127.0.0.1:1/x"}
    first, second = read(GOOD, {**GOOD, "name": "other", "to": ["event", "syslog"]}, to=[hook]).alerts
    assert [item.name for item in first.targets] == ["webhook"]
    assert [item.name for item in second.targets] == ["event", "syslog"]


def test_a_report_with_parameters() -> None:
    (made,) = read(
        {"name": "slow", "report": "request-times", "parameters": {"logger": "shop"}, "when": "p95 > 500"}
    ).alerts
    assert made.about == "report request-times: p95 > 500"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, r"alerts\[0\].name = '': wants letters"),
        ({"when": "value is high"}, r"alerts\[0\].when = 'value is high': wants COLUMN OPERATOR NUMBER"),
        ({"when": "__import__('os') > 1"}, r"alerts\[0\].when = "),
        ({"sql": "SELECT 1 AS value"}, "wants one of report, sql and where, not sql and where"),
        ({"where": ""}, "wants one of report, sql and where$"),
        ({"where": "severity <="}, r"alerts\[0\].where: "),
        ({"where": "true) FROM events; DROP TABLE x; --"}, r"alerts\[0\].where: "),
        ({"where": "", "sql": "SELECT 1 AS value; SELECT 2"}, r"alerts\[0\].sql: "),
        ({"where": "", "sql": "SELECT * FROM read_csv('/etc/passwd')"}, r"alerts\[0\].sql: "),
        ({"where": "", "sql": "SELECT $x AS value"}, r"uses \$x; there are \$since and \$until"),
        ({"where": "", "report": "request-tims"}, "request-times"),
        ({"where": "", "report": "request-times", "parameters": {"nosuch": 1}}, "has no such parameter"),
        ({"where": "", "report": "request-times", "parameters": {"since": "1h"}}, "the window says it; see `window`"),
        ({"parameters": {"a": 1}}, "only a report has parameters"),
        ({"for": "soon"}, r"alerts\[0\].for = 'soon'"),
        ({"every": 0}, r"alerts\[0\].every = 0"),
        ({"no_data": "maybe"}, r"alerts\[0\].no_data = 'maybe'"),
        ({"evry": 1}, "did you mean 'every'"),
        ({"xyz": 1}, "no such setting; there is .* every, for, name,"),
        ({"to": ["webhok"]}, r"alerts\[0\].to\[0\] = 'webhok': no such target; did you mean 'webhook'"),
        ({"to": ["webhook"]}, r"alerts\[0\].to\[0\].url"),
        ({"to": [{"name": "webhook", "url": "ftp://x"}]}, "wants http:// or https:// and a host"),
        ({"to": [{"name": "webhook", "url": "http://u:p@x/"}]}, "must not hold a user name or password"),
        ({"to": [{"name": "command", "argv": []}]}, "argv: wants a program"),
        ({"to": [{"name": "syslog", "facility": "local9"}]}, "facility = 'local9'"),
        ({"to": [{"name": "event", "to": "udpp://x"}]}, "udpp"),
    ],
)
def test_what_cannot_work_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read({**GOOD, **change})


def test_names_are_unique_and_the_page_has_no_journal() -> None:
    with pytest.raises(ConfigError, match=r"alerts\[1\].name = 'errors': another alert has this name"):
        read(GOOD, GOOD)
    with pytest.raises(ConfigError, match=r"alerts\[0\].to\[0\]: to: needed here, where no listener runs"):
        read({**GOOD, "to": ["event"]}, in_listener=False)
    read({**GOOD, "to": [{"name": "event", "to": "udp://127.0.0.1:5565"}]}, in_listener=False)


def test_the_listener_tells_them_with_all_other_faults(tmp_path: Path) -> None:
    settings = {"inputs": ["nosuch"], "alerts": [{**GOOD, "when": "x"}], "alerting": {"memroy": "1GB"}}
    with pytest.raises(ConfigError) as error:
        from_mapping(settings, data=tmp_path)
    assert [re.split("[ :]", line)[0] for line in error.value.problems] == [
        "inputs[0]",
        "alerting.memroy",
        "alerts[0].when",
    ]


PAGE = (ROOT / "docs" / "alerts.md").read_text("utf-8")


@pytest.mark.parametrize("block", re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_the_documentation_shows_what_is_taken(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r'"(\w+_(?:TOKEN|SECRET))"', block):
        monkeypatch.setenv(variable, "secret")
    problems = Problems()
    found = alerts_of(tomllib.loads(block), None, problems, in_listener=True)
    assert problems.lines == []
    assert found.alerts
