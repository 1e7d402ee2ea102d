from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any


def messages(client: Any) -> list[dict[str, Any]]:
    """What DebugCaptureSender has kept."""
    return [json.loads(msg) for msg in client.sender.msgs]


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.005)
