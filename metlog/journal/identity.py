"""The durable name of a listener: of one journal, for good. Names of segments and of files in the data set begin with it."""

from __future__ import annotations

import secrets
from typing import Final

import msgspec
from msgspec import Struct

from metlog.journal.folder import Folder

__all__ = ["FILE", "Identity", "identity_of", "save"]

FILE: Final = "identity.json"


class Identity(Struct, frozen=True, omit_defaults=True):
    """What stands beside a journal."""

    id: str
    """Twelve hexadecimal digits, drawn once."""
    generation: int = 0
    """How often the listener has claimed its name on shared storage (`metlog.lake.claims`)."""
    nonce: str = ""
    """What the next claim says, written before it is made."""


def identity_of(journal: Folder) -> Identity:
    """The identity beside a journal, made when there is none. One that is damaged is replaced: a name is only ever used by one
    listener, while a listener may have had several."""
    try:
        found = msgspec.json.decode(journal.read(FILE), type=Identity)
        if len(found.id) == 12 and found.id.isalnum():
            return found
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    made = Identity(secrets.token_hex(6))
    save(journal, made)
    return made


def save(journal: Folder, identity: Identity) -> None:
    """Durable when it returns. Raises OSError."""
    journal.replace(FILE, msgspec.json.encode(identity) + b"\n")
