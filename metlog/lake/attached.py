"""A data folder whose Parquet files lie elsewhere: on shared storage, or in another folder.

Journal, cursors, status and saved reports stay in the data folder, which is local. A small file in it, `lake.json`, says where the
data set is; the listener's output `lake` writes it, and so does a command that is given a URI as `--data`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from metlog.errors import ConfigError
from metlog.journal.folder import Folder
from metlog.lake.storage import check_uri
from metlog.lake.uris import is_remote, local_path, place_of

__all__ = ["attach", "attached", "folder_for"]

_FILE: Final = "lake.json"


class _Lake(Struct):
    uri: str


def attach(folder: Folder, uri: str) -> None:
    """Notes where the data set of a data folder lies; the empty text: in the folder itself."""
    uri = _elsewhere(folder, uri)
    if attached(folder) == uri:
        return
    if uri:
        folder.replace(_FILE, msgspec.json.encode(_Lake(uri)) + b"\n")
    else:
        folder.unlink(_FILE, missing_ok=True)


def attached(folder: Folder) -> str:
    """Where the data set of a data folder lies; the empty text: in the folder itself, whatever its URI. Raises ConfigError for a file that
    is damaged."""
    try:
        return _elsewhere(folder, msgspec.json.decode(folder.read(_FILE), type=_Lake).uri)
    except FileNotFoundError:
        return ""
    except msgspec.DecodeError as error:
        raise ConfigError(f"{folder.path / _FILE}: {error}; the listener writes it anew when it starts") from error


def _elsewhere(folder: Folder, uri: str) -> str:
    """The URI, or the empty text for one of the folder itself: its files would be read twice."""
    return "" if not is_remote(uri) and place_of(uri, folder.path) == place_of("", folder.path) else uri


def folder_for(text: str) -> Path:
    """The data folder that a command is asked for: a path, or, for a URI, a folder of this user's that is attached to it. Raises
    ConfigError, OSError."""
    if not is_remote(text):
        return local_path(text)
    check_uri(text)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "metlog" / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    with Folder.root(path, create=True) as folder:
        attach(folder, text)
    return path
