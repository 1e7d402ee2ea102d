from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from metlog.compat import CLIENT_HOLDER


def _shout_provider(config: dict[str, Any]) -> Any:
    def shout(self: Any, text: str) -> None:
        self.metlog("shout", payload=text.upper() + config["punctuation"])

    shout.metlog_name = "shout"  # type: ignore[attr-defined]
    return shout


class _ListSender:
    """A sender as an application had written it for the original."""

    made = 0

    def __init__(self, tag: str = "", **options: Any) -> None:
        type(self).made += 1
        self.tag, self.options = tag, options
        self.messages: list[dict[str, Any]] = []

    def send_message(self, msg: dict[str, Any]) -> None:
        self.messages.append(msg)


def _only(word: str) -> Any:
    def keep(msg: dict[str, Any]) -> bool:
        msg["payload"] += " seen"
        msg["fields"].setdefault("deep", {})["seen"] = True
        return word in msg["payload"]

    return keep


def _unwilling(*args: Any, **options: Any) -> Any:
    raise KeyError("no such thing")


@pytest.fixture(autouse=True)
def theirs(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of the application's own, with a sender, a filter's provider and a plugin's."""
    module = types.ModuleType("theirs")
    names = {"shout_provider": _shout_provider, "ListSender": _ListSender, "only": _only, "unwilling": _unwilling}
    module.__dict__.update(names, shout_formatter=lambda msg: f"{msg['type'].upper()} {msg['metlog_pid'] > 0}")
    monkeypatch.setitem(sys.modules, "theirs", module)
    _ListSender.made = 0
    return module


@pytest.fixture(autouse=True)
def no_client_is_left() -> Iterator[None]:
    yield
    for client in list(CLIENT_HOLDER._clients.values()):
        client.close()
    CLIENT_HOLDER._clients.clear()
    CLIENT_HOLDER.global_config.clear()
