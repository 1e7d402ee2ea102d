"""Shares `collecting.py` and the parts of `plugins/` with tests/process."""

from __future__ import annotations

import sys
from pathlib import Path

_shared = Path(__file__).parents[1] / "process"
for _folder in (_shared, _shared / "plugins"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
