"""Named points at which a test kills the process: `METLOG_FAULT=rename` or `rename:3` (at the third passing).

Points of the journal: create, append, fsync, seal, rename, cursor, before_unlink, after_unlink.
Points of the lake: lake.write, lake.fsync, lake.rename, lake.cursor.
"""

from __future__ import annotations

import os
import signal
from typing import Final

__all__ = ["POINTS", "point"]

POINTS: Final = (
    "create", "append", "fsync", "seal", "rename", "cursor", "before_unlink", "after_unlink",
    "lake.write", "lake.fsync", "lake.rename", "lake.cursor",
)  # fmt: skip

_name, _, _nth = os.environ.get("METLOG_FAULT", "").partition(":")
_left: int = int(_nth or 1)


def point(name: str) -> None:
    """Kills the whole process group here, when this point is armed: nothing is flushed, nothing is closed."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.killpg(0, signal.SIGKILL)
