from __future__ import annotations

import json
from typing import Any


def messages(client: Any) -> list[dict[str, Any]]:
    """What DebugCaptureSender has kept."""
    return [json.loads(msg) for msg in client.sender.msgs]
