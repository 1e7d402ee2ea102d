"""The keys of submissions that were journaled: what makes a repeated one known, also after a restart.

They stand in the journal's records. For those whose segment is gone, and so that a start need not read the backlog, the
memory is written beside the journal each time that a segment was sealed:

    keys = "metlog-keys 1\\n" (14 bytes), through (u64, little-endian), crc32 of the rest (u32), digest (16 bytes)…

`through` is the number of the first segment whose keys the file may lack.
"""

from __future__ import annotations

import errno
import logging
import struct
import threading
import zlib
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from metlog.journal.cursor import Position
from metlog.journal.folder import Folder
from metlog.journal.reader import read

__all__ = ["LIMIT", "IdempotencyKeys", "damaged", "through"]

log = logging.getLogger("metlog.listener")

LIMIT: Final = 200_000
"""Keys that are kept; the oldest are forgotten first."""

_FILE: Final = "keys"
_HEAD: Final = struct.Struct("<14sQI")
_MAGIC: Final = b"metlog-keys 1\n"
_SIZE: Final = 16
_END: Final = Position(1 << 62)
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}


class IdempotencyKeys:
    """The keys that were journaled, each with the log sequence number that must be durable for it to count. Safe to use from any thread."""

    def __init__(self, journal: Folder, limit: int = LIMIT) -> None:
        """Reads the file and every segment that is younger; the journal must be recovered and not yet written to."""
        self._folder = journal
        self._limit = limit
        self._changed = threading.Condition()
        # Not a dict, which looks for its first entry among all those that were removed.
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._claimed: set[bytes] = set()
        self._through = self._load()
        for entry in read(journal, Position(self._through), _END):
            if entry.record.key:
                self._remember(_digest(entry.record.key), 0)

    def _load(self) -> int:
        found = _read(self._folder)
        if found is None:
            return 0
        through, digests = found
        for at in range(0, len(digests), _SIZE):
            self._remember(digests[at : at + _SIZE], 0)
        return through

    def _remember(self, digest: bytes, lsn: int) -> None:
        self._known.pop(digest, None)
        self._known[digest] = lsn
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def claim(self, key: str) -> int | None:
        """The log sequence number of a key that was journaled; None: it was not, and is the caller's to `settle` now.
        Waits while it is another's."""
        digest = _digest(key)
        with self._changed:
            self._changed.wait_for(lambda: digest not in self._claimed)
            lsn = self._known.get(digest)
            if lsn is None:
                self._claimed.add(digest)
            return lsn

    def settle(self, key: str, lsn: int | None) -> None:
        """Ends a claim: with where its record stands, or with None when it was not journaled."""
        digest = _digest(key)
        with self._changed:
            self._claimed.discard(digest)
            if lsn is not None:
                self._remember(digest, lsn)
            self._changed.notify_all()

    def save(self, through: int) -> int:
        """Makes the keys of every segment before number `through`, all of them sealed, durable. For one thread.

        Gives the number below which segments may be unlinked. That is `through` also when the disk has no room for
        the keys: what is to be unlinked makes some, and until then they are in memory.
        """
        if through <= self._through:
            return self._through
        with self._changed:
            # An earlier claim may have been appended to a segment that is sealed by now, and not settled yet.
            earlier = set(self._claimed)
            if not self._changed.wait_for(lambda: not (earlier & self._claimed), 1.0):
                return self._through
            digests = b"".join(self._known)
        head = _HEAD.pack(_MAGIC, through, zlib.crc32(digests, through & 0xFFFFFFFF))
        try:
            self._folder.replace(_FILE, head + digests, point="keys")
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            log.warning("no room to write %s: a repeat may not be known after a crash now", self._folder.path / _FILE)
        else:
            self._through = through
        return through

    def __len__(self) -> int:
        return len(self._known)


def through(journal: Folder) -> int:
    """The number of the first segment whose keys the file beside a journal may lack; 0 when it has no such file."""
    found = _read(journal)
    return found[0] if found is not None else 0


def damaged(journal: Folder) -> bool:
    """Whether the file beside a journal is there and does not verify."""
    try:
        return _parse(journal.read(_FILE)) is None
    except FileNotFoundError:
        return False


def _parse(data: bytes) -> tuple[int, bytes] | None:
    if len(data) >= _HEAD.size:
        magic, number, crc = _HEAD.unpack_from(data)
        digests = data[_HEAD.size :]
        if magic == _MAGIC and crc == zlib.crc32(digests, number & 0xFFFFFFFF) and len(digests) % _SIZE == 0:
            return int(number), digests
    return None


def _read(journal: Folder) -> tuple[int, bytes] | None:
    """`through` and the digests of the file; None when there is none, or a damaged one, which is told."""
    try:
        found = _parse(journal.read(_FILE))
    except FileNotFoundError:
        return None
    if found is not None:
        return found
    log.warning(
        "%s is damaged: the keys are read from the journal; repeats of older submissions are not known",
        journal.path / _FILE,
    )
    return None


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=_SIZE).digest()
