"""The original's `metlog.holder`: the named clients, and one of them configured at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metlog.compat.client import CompatClient
from metlog.compat.clients import CLIENT_HOLDER, MetlogClientHolder
from metlog.compat.config import client_from_dict_config

__all__ = ["CLIENT_HOLDER", "MetlogClientHolder", "get_client"]


def get_client(name: str, config_dict: Mapping[str, Any] | None = None) -> CompatClient:
    """The client of that name, configured when a configuration is given; ValueError when that names another logger."""
    client = CLIENT_HOLDER.get_client(name)
    if config_dict:
        logger = config_dict.get("logger")
        if logger and logger != name:
            raise ValueError("Config `logger` value must either match `name` argument or be left blank.")
        client = client_from_dict_config({**config_dict, "logger": name}, client)
    return client
