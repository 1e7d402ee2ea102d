"""deploy/prometheus and deploy/grafana: every metric that they name is one of /metrics of a real listener."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.helpers.listener import Listener
from tests.helpers.paths import ROOT
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for

yaml = pytest.importorskip("yaml", reason="install it with: pip install pyyaml")

RULES = ROOT / "deploy" / "prometheus" / "metlog.rules.yml"
BOARD = ROOT / "deploy" / "grafana" / "metlog.json"
RECORDED = re.compile(r"metlog:[a-z0-9:]+")
NAME = re.compile(r"\bmetlog_[a-z0-9_]+")

CONFIG = """
[[inputs]]
name = "http"
port = 0
[[alerts]]
name = "errors"
where = "severity <= 3"
when = "value > 5"
every = "1s"
[[inputs]]
name = "udp"
port = 0
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """The metrics of a listener that had a bit of everything: an event, a dead letter, a client that dropped."""
    folder = tmp_path_factory.mktemp("deploy")
    (folder / "listener.toml").write_text(CONFIG)
    listener = Listener(folder / "data", "--config", str(folder / "listener.toml"))
    try:
        yield had_a_bit_of_everything(listener)
    finally:
        listener.stop()


def had_a_bit_of_everything(listener: Listener) -> set[str]:
    url = listener.address("http")
    event = {"type": "metlog.report", "stream": "s", "seq": 2, "fields": {"dropped": {"full": 3}}}
    lines = [{"type": "login", "stream": "s", "seq": 1}, event]
    body = "\n".join(json.dumps(line) for line in lines)
    assert (
        httpx.put(f"{url}/submit/shop/x", content=body, headers={"content-type": "application/x-ndjson"}).status_code
        == 201
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"no event", ("127.0.0.1", port_of(listener.address("udp"))))

    def found() -> set[str]:
        return set(re.findall(r"^# TYPE (\S+)", httpx.get(f"{url}/metrics").text, re.MULTILINE))

    wait_for(
        lambda: (
            {"metlog_dead_letters_total", "metlog_alert_state", "metlog_delivery_dropped_by_client_total"} <= found()
        )
    )
    wait_for(lambda: "metlog_output_failing" in found())
    return found()


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_every_rule_names_metrics_that_there_are(names: set[str]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        used = set(NAME.findall(rule["expr"]))
        assert used | set(RECORDED.findall(rule["expr"])), rule
        assert used <= names, (rule, used - names)
        assert set(RECORDED.findall(rule["expr"])) <= recorded


def test_rules_are_whole() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 10
    for rule in alerts:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].startswith("metlog at {{ $labels.instance }}: ")
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert re.fullmatch(r"\d+[smh]", str(rule.get("for", "1m")))


def test_every_panel_asks_for_metrics_that_there_are(names: set[str]) -> None:
    board = json.loads(BOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [item["query"]["query"] for item in board["templating"]["list"] if item["type"] == "query"]
    for query in queries:
        used = set(NAME.findall(query))
        assert used, query
        assert used <= names, (query, used - names)
        assert query.count("(") == query.count(")")
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    boxes = [panel["gridPos"] for panel in board["panels"]]
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
