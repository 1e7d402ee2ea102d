"""Whether the journal may take more: its own cap, the disk's free bytes, and a disk that failed."""

from __future__ import annotations

import errno
import logging
import os
import time
from typing import Final

from metlog.journal.errors import Full
from metlog.journal.folder import Folder, write_all

__all__ = ["NO_ROOM", "Capacity", "why"]

log = logging.getLogger("metlog.listener")

_EVERY: Final = 0.25
"""Seconds between two probes for room, or for a disk that works again."""
_STEP: Final = 16 << 20
"""Bytes appended between two looks at the free bytes of the disk, at most."""
_WANTED: Final = 1 << 20
"""Bytes of a refused write that must fit before anything is taken again, at most."""
_PROBE: Final = ".probe.tmp"

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that pass when space is freed; all others are faults of the disk."""


class Capacity:
    """Pauses writes while they cannot be taken, and resumes them by itself. The caller holds the journal's lock."""

    def __init__(self, folder: Folder, max_bytes: int, min_free: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._min_free = min_free
        self._next_look = 0
        self._look_at = 0.0
        self.reason = ""
        """Why nothing is taken now; empty when all is well."""
        self._refused = 0
        self._wanted = 0
        """The largest write refused, as far as it counts."""
        self.refusals = 0
        """Writes refused since the start."""

    def configure(self, max_bytes: int, min_free: int) -> None:
        """Goes by other limits from now on."""
        self._max_bytes, self._min_free = max_bytes, min_free
        self._next_look = 0

    def check(self, size: int, used: int, appended: int) -> None:
        """Raises Full when `size` bytes more may not be written. `used`: bytes of the journal now; `appended`: ever."""
        if self.reason:
            self._refused += 1
            self.refusals += 1
            self._wanted = max(self._wanted, min(size, _WANTED))
            raise Full(self.reason)
        reason = self._lack(size, used) if appended >= self._next_look else self._over(size, used)
        if reason:
            raise self.pause(reason, size)
        if appended >= self._next_look:
            self._next_look = appended + min(self._min_free // 4, _STEP)

    def check_free(self) -> None:
        """Looks at the disk before anything is written, so that a start on a full one is told at once."""
        if reason := self._scarce(0):
            self.pause(reason)

    def pause(self, reason: str, size: int = 0) -> Full:
        """Pauses writes until `probe` finds room for `size` bytes; returns the error to raise."""
        if not self.reason:
            log.error("the journal takes no events: %s", reason)
            self._refused = 0
        self.reason = reason
        self._wanted = max(self._wanted, min(size, _WANTED))
        self._refused += 1
        self.refusals += 1
        self._look_at = time.monotonic() + _EVERY
        return Full(reason)

    @property
    def probe_due(self) -> bool:
        """Whether writes are paused and it is time for the next `probe`."""
        return bool(self.reason) and time.monotonic() >= self._look_at

    def probe(self, used: int) -> str:
        """Returns why writes cannot resume yet; empty when there is room and the disk takes a write and an fsync. Call it without
        the journal's lock: it blocks on a hung disk.

        Some headroom (hysteresis) is asked for: else it would resume and pause again four times a second, and log each time."""
        spare = min(max(self._wanted, self._max_bytes // 16), self._max_bytes // 4)
        return self._over(spare, used) or self._scarce(max(self._wanted, self._min_free // 16)) or self._failure()

    def resume_or_pause(self, reason: str) -> None:
        """Acts on what `probe` returned: writes resume, or stay paused for this reason."""
        self._look_at = time.monotonic() + _EVERY
        if not reason:
            log.warning("the journal takes events again; %d writes were refused meanwhile", self._refused)
            self._wanted = 0
        self.reason = reason

    def _lack(self, size: int, used: int) -> str:
        return self._over(size, used) or self._scarce(size)

    def _over(self, size: int, used: int) -> str:
        if used + size <= self._max_bytes:
            return ""
        return f"it holds its {self._max_bytes} bytes (journal.max_bytes): an output is behind"

    def _scarce(self, size: int) -> str:
        try:
            disk = os.fstatvfs(self._folder.fd)
        except OSError as error:  # a stale handle of a network's disk, say
            return why(error)
        if disk.f_bavail * disk.f_frsize >= self._min_free + size:
            return ""
        return f"less than {self._min_free} bytes are free on its disk (journal.min_free)"

    def _failure(self) -> str:
        try:
            fd = self._folder.open(_PROBE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                write_all(fd, b"\0" * 4096)
                os.fsync(fd)
            finally:
                os.close(fd)
                self._folder.unlink(_PROBE, missing_ok=True)
        except OSError as error:
            return why(error)
        return ""


def why(error: OSError) -> str:
    """An error of the disk in the words of a refusal."""
    if error.errno in NO_ROOM:
        return f"no room on its disk ({os.strerror(error.errno or 0)})"
    return f"its disk fails ({error.strerror or error})"
