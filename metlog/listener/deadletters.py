"""Dead letters: what could not be taken, with time, source and reason, one JSON object a line, bounded in size."""

from __future__ import annotations

import base64
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from metlog.journal.folder import Folder, write_all
from metlog.journal.segment import source_bytes

__all__ = ["DeadLetters"]

log = logging.getLogger("metlog.listener")

_SUFFIX: Final = ".ndjson"
_PART: Final = 1 << 20
"""Bytes of letters that are encoded before they are written, unless a single one is longer."""
_HEAD: Final = 200
"""Bytes of a line for everything but its source, reason and data."""
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r"))


class DeadLetters:
    """Appends to `dead/<name>.ndjson`; before it would exceed half of `max_bytes` the file becomes `<name>.1.ndjson`, in place of the
    one before. A letter that would not fit into a file by itself keeps the beginning of its data. Safe to use from any thread."""

    def __init__(self, folder: Folder, name: str, max_bytes: int = 64 << 20) -> None:
        self._folder = folder
        self._name = name
        self._limit = max(max_bytes // 2, 1)
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._named = False
        """Whether the name of the open file is durable."""
        self._failing = False
        self.counts: Counter[str] = Counter()
        """Letters by reason, without the detail."""
        self.unwritten = 0
        """Letters counted and not kept, because the disk took no more."""

    def configure(self, max_bytes: int) -> None:
        """Keeps the letters within another size from now on."""
        self._limit = max(max_bytes // 2, 1)

    def add(self, letters: Sequence[tuple[bytes, str, str]], *, durable: bool = False) -> None:
        """Appends (data, source, reason). With `durable` they are on disk when it returns, or OSError is raised."""
        time = datetime.now(UTC)
        written = 0
        with self._lock:
            for _, _, reason in letters:
                self.counts[reason.partition(":")[0]] += 1
            try:
                for lines, count in self._parts(time, letters):
                    with self._folder.locked():  # against `metlog forget`, which puts other files in the place of these
                        self._append(lines, durable)
                    written += count
                if durable and letters:
                    self._sync()
            except OSError as error:
                self.unwritten += len(letters) - written
                if durable:
                    raise
                if not self._failing:
                    log.error("dead letters cannot be kept, only counted: %s", error)
                self._failing = True
            else:
                self._failing = False

    def _parts(self, time: datetime, letters: Sequence[tuple[bytes, str, str]]) -> Iterator[tuple[bytes, int]]:
        """The lines in parts that fit into a file, with the number of letters in each."""
        most = min(self._limit, _PART)
        lines: list[bytes] = []
        size = 0
        for data, source, reason in letters:
            line = _line(time, data, source, reason, self._limit)
            if lines and size + len(line) > most:
                yield b"".join(lines), len(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        if lines:
            yield b"".join(lines), len(lines)

    def _append(self, lines: bytes, durable: bool) -> None:
        if self._fd >= 0 and not self._folder.names_open(self._name + _SUFFIX, self._fd):
            self._close()
        if self._fd < 0:
            self._open()
        if self._size and self._size + len(lines) > self._limit:
            if durable:  # it may hold letters of the same call
                os.fsync(self._fd)
            self._close()
            self._folder.rename(self._name + _SUFFIX, f"{self._name}.1{_SUFFIX}")
            self._open()
        try:
            write_all(self._fd, lines)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(lines)

    def _open(self) -> None:
        self._fd = self._folder.open(self._name + _SUFFIX, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size
        self._named = False

    def _sync(self) -> None:
        os.fsync(self._fd)
        if not self._named:
            self._folder.sync()
            self._named = True

    def _close(self) -> None:
        descriptor, self._fd = self._fd, -1  # closed also when that fails: its number may soon be another file's
        os.close(descriptor)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                self._close()


def _line(time: datetime, data: bytes, source: str, reason: str, most: int) -> bytes:
    """A letter of at most `most` bytes."""
    source = source_bytes(source).decode()
    letter: dict[str, Any] = {"time": time, "source": source, "reason": reason}
    room = max(most - _HEAD - len(source) - len(reason), 0) * 2 // 5
    if len(data) > room:
        letter["cut_from"] = len(data)
        data = data[:room]
    text = _text(data)
    if text is None:
        letter["base64"] = base64.b64encode(data).decode()
    else:
        letter["text"] = text
    return msgspec.json.encode(letter) + b"\n"


def _text(data: bytes) -> str | None:
    """The data as text; None for binary data, which would be larger as text: a control character takes six bytes in JSON."""
    if (len(data) - len(data.translate(None, _CONTROLS))) * 18 > len(data):
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
