"""What is known of imports: a line of `imports.ndjson` for each file that was imported whole, and the names of the files that an import
writes, by the digest of the content that it reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

from metlog.journal.folder import Folder
from metlog.lake.writer import PARQUET

__all__ = ["PREFIX", "Finished", "finished", "is_part_of", "part_name", "remember"]

PREFIX: Final = "import-"
"""How the names of all files that imports write begin."""
_RECORD: Final = "imports.ndjson"
_PART: Final = re.compile(rf"{PREFIX}([0-9a-f]{{24}})-\d{{6,}}{re.escape(PARQUET)}")
_DIGITS: Final = 24
"""Of the digest, in a name."""


class _Line(Struct):
    """A line of the record."""

    time: datetime
    sha256: str
    name: str
    events: int
    skipped: int


def part_name(digest: str, part: int) -> str:
    """Returns the name of a part of an import, the same in the folder of each day that has events of it."""
    return f"{PREFIX}{digest[:_DIGITS]}-{part:06d}{PARQUET}"


def is_part_of(name: str, digest: str) -> bool:
    """Returns whether a file has the name of a part of the import of this content."""
    found = _PART.fullmatch(name)
    return found is not None and found[1] == digest[:_DIGITS]


class Finished:
    """The imports that came to their end."""

    def __init__(self, digests: set[str]) -> None:
        self._digests = digests
        self._short = {digest[:_DIGITS] for digest in digests}

    def has(self, digest: str) -> bool:
        """Whether content of this digest was imported whole."""
        return digest in self._digests

    def may_write(self, name: str) -> bool:
        """Whether an import that was interrupted may write a file of this name again."""
        found = _PART.fullmatch(name)
        return found is not None and found[1] not in self._short


def finished(root: Folder) -> Finished:
    """Reads the record of a data folder. A line that a crash cut off counts as none."""
    try:
        lines = root.read(_RECORD).splitlines()
    except FileNotFoundError:
        lines = []
    found = set()
    for line in lines:
        try:
            found.add(msgspec.json.decode(line, type=_Line).sha256)
        except msgspec.DecodeError:
            continue
    return Finished(found)


def remember(root: Folder, digest: str, name: str, events: int, skipped: int) -> None:
    """Records that a file was imported whole, durably."""
    root.append_line(_RECORD, msgspec.json.encode(_Line(datetime.now(UTC), digest, name, events, skipped)))
