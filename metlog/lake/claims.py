"""One listener a name, on storage that many listeners share.

A data folder that was copied (a cloned machine, a restored backup) brings the listener's name with it. So each start of a listener claims
its name anew: it creates `listeners/ID-GENERATION.json`, one generation after the last that it knows, which storage allows once. Of two
that know the same generation the second is refused; of one that runs on while its copy starts, the copy's claim is seen before the
next segment is written. What was written before stays right: the names of files have a random part for each start as well.
"""

from __future__ import annotations

import os
import secrets
import socket
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from metlog.errors import MetlogError
from metlog.journal.folder import Folder
from metlog.journal.identity import FILE, Identity, identity_of, save
from metlog.lake.storage import Storage

__all__ = ["Claim", "CopiedError"]


class CopiedError(MetlogError):
    """Another listener has this one's name."""


class _Claim(Struct):
    nonce: str
    hostname: str
    pid: int
    claimed_at: datetime


class Claim:
    """A listener's claim on its name."""

    def __init__(self, storage: Storage, journal: Folder) -> None:
        """Claims. Raises CopiedError, OSError."""
        self._storage = storage
        self._journal = journal
        known = identity_of(journal)
        if not known.nonce:
            known = Identity(known.id, known.generation, secrets.token_hex(16))
            save(journal, known)
        self.id = known.id
        self.generation = known.generation + 1
        content = _Claim(known.nonce, socket.gethostname(), os.getpid(), datetime.now(UTC))
        if not storage.create(self._path(self.generation), msgspec.json.encode(content) + b"\n"):
            there = self._read(self.generation)
            if there.nonce != known.nonce:  # else it is our own: its answer was lost
                raise self._copied(there)
        save(journal, Identity(self.id, self.generation))
        storage.remove(self._path(known.generation))

    def check(self) -> None:
        """Raises CopiedError when another listener has claimed the name since, OSError when the storage does not say."""
        ours = self._path(self.generation).rpartition("/")[2]
        later = [name for name in self._storage.names("listeners", f"{self.id}-") if name > ours]
        if later:
            raise self._copied(self._read(int(later[-1].removesuffix(".json").rpartition("-")[2])))

    def _path(self, generation: int) -> str:
        return f"listeners/{self.id}-{generation:08d}.json"

    def _read(self, generation: int) -> _Claim:
        path = self._path(generation)
        try:
            return msgspec.json.decode(self._storage.read(path), type=_Claim)
        except msgspec.DecodeError as error:
            raise OSError(f"{self._storage.describe()}/{path}: {error}") from error

    def _copied(self, other: _Claim) -> CopiedError:
        return CopiedError(
            f"the listener {self.id} was claimed by another, process {other.pid} on {other.hostname}, at"
            f" {other.claimed_at:%Y-%m-%d %H:%M:%S} UTC: one data folder is a copy of the other's. Stop one of them; to make this one"
            f" a listener of its own, stop it and delete {self._journal.path / FILE}"
        )
