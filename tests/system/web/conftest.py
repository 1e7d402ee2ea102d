from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.helpers.webdata import small_lake


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small_lake(tmp_path / "data", datetime.now(UTC).replace(microsecond=0))
