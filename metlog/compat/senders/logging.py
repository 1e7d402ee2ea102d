"""Through the standard library's logging."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from metlog.senders.logging import LEVELS

__all__ = ["StdLibLoggingSender"]


class StdLibLoggingSender:
    """Hands messages to stdlib logging: by type the payload alone, the whole message as JSON, or nothing."""

    def __init__(
        self,
        logger_name: str | None = None,
        payload_types: str | Sequence[str] | None = None,
        json_types: str | Sequence[str] | None = None,
    ) -> None:
        self.logger = logging.getLogger(logger_name)
        self.payload_types = _types(payload_types, "oldstyle")
        self.json_types = _types(json_types, "*")

    def send_message(self, msg: dict[str, Any]) -> None:
        """Logs one message at the level of its severity."""
        if not self.payload_types.isdisjoint((msg["type"], "*")):
            text = msg["payload"]
        elif not self.json_types.isdisjoint((msg["type"], "*")):
            text = json.dumps(msg)
        else:
            return
        self.logger.log(LEVELS[msg["severity"]], text)  # without arguments a % in it stays what it is


def _types(given: str | Sequence[str] | None, default: str) -> frozenset[str]:
    if given is None:
        return frozenset({default})
    return frozenset({given} if isinstance(given, str) else given)
