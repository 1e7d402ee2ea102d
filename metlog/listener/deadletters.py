"""Dead letters: what could not be taken, with time, source and reason, one JSON object a line, bounded in size."""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from metlog.journal.folder import Folder, write_all

__all__ = ["DeadLetters"]

log = logging.getLogger("metlog.listener")

_SUFFIX: Final = ".ndjson"


class DeadLetters:
    """Appends to `dead/<name>.ndjson`; at half of `max_bytes` the file becomes `<name>.1.ndjson`, in place of the one before."""

    def __init__(self, folder: Folder, name: str, max_bytes: int = 64 << 20) -> None:
        self._folder = folder
        self._name = name
        self._limit = max(max_bytes // 2, 1)
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._failing = False
        self.counts: Counter[str] = Counter()
        """Letters by reason, without the detail."""
        self.unwritten = 0
        """Letters counted and not kept, because the disk took no more."""

    def add(self, letters: Sequence[tuple[bytes, str, str]], *, durable: bool = False) -> None:
        """Takes (data, source, reason). With `durable` they are on disk when it returns, or OSError is raised."""
        time = datetime.now(UTC)
        lines = b"".join([_line(time, *letter) for letter in letters])
        with self._lock:
            for _, _, reason in letters:
                self.counts[reason.partition(":")[0]] += 1
            try:
                self._append(lines)
                if durable:
                    os.fsync(self._fd)
            except OSError as error:
                self.unwritten += len(letters)
                if durable:
                    raise
                if not self._failing:
                    log.error("dead letters cannot be kept, only counted: %s", error)
                self._failing = True
            else:
                self._failing = False

    def _append(self, lines: bytes) -> None:
        if self._fd < 0:
            self._fd = self._folder.open(self._name + _SUFFIX, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self._size = os.fstat(self._fd).st_size
        if self._size and self._size + len(lines) > self._limit:
            os.close(self._fd)
            self._fd = -1
            self._folder.rename(self._name + _SUFFIX, f"{self._name}.1{_SUFFIX}")
            self._fd = self._folder.open(self._name + _SUFFIX, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self._size = 0
        try:
            write_all(self._fd, lines)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(lines)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _line(time: datetime, data: bytes, source: str, reason: str) -> bytes:
    letter: dict[str, Any] = {"time": time, "source": source, "reason": reason}
    try:
        letter["text"] = data.decode()
    except UnicodeDecodeError:
        letter["base64"] = base64.b64encode(data).decode()
    return msgspec.json.encode(letter) + b"\n"
