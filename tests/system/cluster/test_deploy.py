"""What stands in deploy/ is what Kubernetes, Compose and metlog itself take, checked without any of their servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from metlog.listener.config import from_mapping
from tests.helpers.paths import ROOT

yaml = pytest.importorskip("yaml", reason="needs pyyaml")
DEPLOY = ROOT / "deploy"


def documents() -> Iterator[Any]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            yield pytest.param(document, id=f"{path.stem}-{number}-{document['kind']}")


def commands() -> Iterator[list[str]]:
    """Arguments of `metlog` in the manifests."""
    for parameter in documents():
        template = parameter.values[0].get("spec", {}).get("template", {})
        for container in template.get("spec", {}).get("containers", ()):
            yield container["args"]
    yield yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["page"]["command"]


@pytest.mark.parametrize("document", [*documents()])
def test_kubernetes_takes_it(document: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate, which has the schemas")
    validate.validate(document, validate.latest_version(), strict=True)
    if "template" in document.get("spec", {}):
        assert (
            document["spec"]["selector"]["matchLabels"].items()
            <= document["spec"]["template"]["metadata"]["labels"].items()
        )
        (container,) = document["spec"]["template"]["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        given = {volume["name"] for volume in document["spec"]["template"]["spec"]["volumes"]}
        claimed = {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", ())}
        assert mounted == given | claimed


def test_a_fault_in_a_manifest_is_found() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate, which has the schemas")
    (document,) = (item.values[0] for item in documents() if item.values[0]["kind"] == "StatefulSet")
    document["spec"]["replica"] = document["spec"].pop("replicas")
    with pytest.raises(validate.ValidationError):
        validate.validate(document, validate.latest_version(), strict=True)


def test_compose_takes_it() -> None:
    compose = pytest.importorskip("compose_spec", reason="needs compose-spec")
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    parsed = compose.PyCompose.from_yaml(yaml.safe_dump(document))
    parsed.validate()
    assert sorted(parsed.service_names()) == ["kafka", "listener", "page", "s3"]
    for service in document["services"].values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{port}: nothing but the loopback is bound unless somebody says so"
    document["services"]["page"]["comand"] = document["services"]["page"].pop("command")
    with pytest.raises(ValueError, match="comand"):
        compose.PyCompose.from_yaml(yaml.safe_dump(document))


def test_metlog_takes_the_listeners_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METLOG_DATA", "s3://lake/data?region=eu-central-1")
    monkeypatch.setenv("METLOG_STATE", "/var/lib/metlog/state")
    maps = [item.values[0] for item in documents() if item.values[0]["kind"] == "ConfigMap"]
    texts = [content for document in maps for content in document["data"].values()]
    texts.append((DEPLOY / "container" / "listener.toml").read_text())
    assert len(texts) == 2
    for text in texts:
        checked = from_mapping(tomllib.loads(text))
        assert checked.where == "s3://lake/data"
        assert [item.id for item in checked.inputs] == ["kafka", "http"]


@pytest.mark.parametrize("arguments", [*commands()], ids=" ".join)
def test_metlog_has_the_options_of_its_commands(arguments: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "metlog", arguments[0], "--help"], capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    known = set(re.findall(r"--[a-z-]+", shown))
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_metlog_takes_the_settings_of_the_page_on_scale() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs" / "scale.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        checked = from_mapping(tomllib.loads(block))
        assert checked.where == "s3://lake/data"
        assert str(checked.general.data) == "/var/lib/metlog"
