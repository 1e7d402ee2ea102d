from __future__ import annotations

from typing import Any

import pytest

from metlog.core import fanout, lifecycle, pipeline
from metlog.core.living import Living


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Living[Any]:
    """What is open, of this test alone: it may close all of it."""
    mine = Living[Any]()
    for module in (lifecycle, pipeline, fanout):
        monkeypatch.setattr(module, "live", mine)
    return mine
