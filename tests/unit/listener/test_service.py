"""The listener as one object: reloads that fail change nothing, and what fails in it is told and ends nothing else."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.event import Event
from metlog.listener.config import ListenerConfig, from_mapping
from metlog.listener.service import Service
from tests.helpers.ports import free_port
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.process

ALERT = {"name": "x", "sql": "SELECT count(*) AS n FROM events", "when": "n > 1", "every": "60s"}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., ListenerConfig]:
    path = tmp_path / "delivered"

    def make(port: int = 0, **more: Any) -> ListenerConfig:
        table = {
            "inputs": [{"name": "http", "port": port}],
            "outputs": [{"name": "file", "path": str(path)}],
            **more,
        }
        return from_mapping(table, data=tmp_path / "data")

    return make


@pytest.fixture
def service(config: Callable[..., ListenerConfig]) -> Iterator[Service]:
    made = Service(config())
    made.start()
    yield made
    made.stop()


def get(service: Service, path: str) -> tuple[int, str]:
    (address,) = service.addresses
    try:
        with urllib.request.urlopen(address + path, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def written(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((service.config.general.data / "status.json").read_text())
    return found


def test_a_reload_whose_alerts_cannot_begin_changes_nothing(
    service: Service, config: Callable[..., ListenerConfig]
) -> None:
    """Their folder is a file here."""
    before, inputs, outputs = service.config, dict(service.inputs), set(service.status()["outputs"])
    wanted = config(
        free_port(), alerts=[ALERT], outputs=[{"name": "stdout", "types": ["none"]}], listener={"stall_after": "5m"}
    )
    (before.general.data / "alerts").touch()
    for _ in range(2):
        with pytest.raises(OSError, match="alerts"):
            service.reload(wanted)
        assert service.config is before
        assert service.inputs == inputs
        assert set(service.status()["outputs"]) == outputs
        assert service.health() == []
    (before.general.data / "alerts").unlink()
    told = service.reload(wanted)
    assert "alerts changed" in told
    assert service.config is wanted
    wait_for(lambda: [alert["name"] for alert in service.status()["alerts"]] == ["x"])


def test_a_reload_whose_inputs_cannot_begin_leaves_the_alerts_as_they_were(
    service: Service, config: Callable[..., ListenerConfig]
) -> None:
    service.reload(config(alerts=[ALERT]))
    wait_for(lambda: service.status()["alerts"])
    other = {**ALERT, "name": "y"}
    with pytest.raises(OSError, match="nowhere"):
        service.reload(config(alerts=[other], inputs=[{"name": "http", "host": "nowhere.invalid", "port": 1}]))
    assert [alert["name"] for alert in service.status()["alerts"]] == ["x"]
    assert "alerts changed" in service.reload(config(alerts=[other]))
    wait_for(lambda: [alert["name"] for alert in service.status()["alerts"]] == ["y"])


@pytest.mark.parametrize("figures", [{"frames": object()}, ValueError("broken")], ids=["no number", "raises"])
def test_an_input_whose_figures_cannot_be_told_ends_neither_status_nor_retention(
    service: Service, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    """As one of a third party may be."""

    def stats() -> Any:
        if isinstance(figures, Exception):
            raise figures
        return figures

    monkeypatch.setattr(service.inputs["http"], "stats", stats)
    service.sink.submit([Event(type="a")], "test://")
    before = written(service)["time"]
    wait_for(lambda: written(service)["time"] > before and written(service)["outputs"]["file"].get("events") == 1)
    assert any(text.startswith("input http: stats() failed: ") for text in service.health())
    code, said = get(service, "/healthz")
    assert (code, "stats() failed" in said) == (503, True)
    assert get(service, "/metrics")[0] == 200
    service.journal.rotate()
    wait_for(lambda: not list(service.folder.glob("*.seg")), 40)
    monkeypatch.undo()
    wait_for(lambda: service.health() == [])


def test_what_the_keeper_cannot_do_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(service.accounting, "stats", fail)
    wait_for(lambda: "cannot write the status: RuntimeError: broken" in service.health())
    monkeypatch.undo()
    wait_for(lambda: service.health() == [])


def test_an_output_that_cannot_start_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"failed_starts": 3, "deaths": 0, "behind_seconds": 0.0, "error": "its process ended with status 1"}
    monkeypatch.setattr(service._outputs, "status", lambda: {"file": facts})
    assert service.health() == [
        "output file: its process ended 3 times before it had begun: its process ended with status 1"
    ]
