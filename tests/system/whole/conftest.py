from __future__ import annotations

from conftest_whole import listen

__all__ = ["listen"]
