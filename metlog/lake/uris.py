"""Where a data set lies: a folder, or the URI of a shared storage."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from metlog.errors import ConfigError

__all__ = ["is_hdfs", "is_remote", "local_path", "parts_of", "path_of", "place_of", "told"]

_OBJECT_STORES: Final = ("s3", "s3a", "gs", "az", "abfss")
_SECRETS: Final = ("key", "secret", "token", "password")


def is_remote(where: str) -> bool:
    """Whether it is a URI other than `file:`. It may be one that names no bucket, or no storage that there is: see `is_hdfs`."""
    scheme, colon, _ = where.partition("://")
    return bool(colon) and scheme.isalnum() and scheme != "file"


def is_hdfs(uri: str) -> bool:
    """Whether it is of HDFS, or else of an object store. Raises ConfigError for a URI that no storage here can be opened by."""
    parts = parts_of(uri)
    if parts.scheme not in {*_OBJECT_STORES, "hdfs"}:
        raise ConfigError(
            f"{told(uri)}: no storage of this kind; there is a path, file://, s3://, gs://, az:// and hdfs://"
        )
    # abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH
    if parts.password or (parts.username and parts.scheme != "abfss"):
        raise ConfigError(f"{told(uri)}: a URI must not hold a password; it comes from the environment")
    if not parts.netloc:
        raise ConfigError(f"{told(uri)}: names no {'host' if parts.scheme == 'hdfs' else 'bucket'}")
    if parts.port is not None and parts.scheme != "hdfs":
        raise ConfigError(
            f"{told(uri)}: names a bucket, which has no port; a store of your own is ?endpoint=http://HOST:PORT"
        )
    if parts.fragment:
        raise ConfigError(f"{told(uri)}: a URI here has no fragment (#…)")
    if any("=" not in part for part in parts.query.split("&") if part):
        raise ConfigError(f"{told(uri)}: an option in a URI is NAME=VALUE")
    for key, _ in parse_qsl(parts.query):
        if any(word in key for word in _SECRETS):
            raise ConfigError(f"{told(uri)}: {key} in a URI would be seen by all; it comes from the environment")
    package = "hdfs_native" if parts.scheme == "hdfs" else "obstore"
    try:
        __import__(package)
    except ImportError as error:
        raise ConfigError(f'{told(uri)}: needs the package {package}; pip install "metlog[storage]"') from error
    return package == "hdfs_native"


def place_of(uri: str, data: Path) -> str:
    """Returns where a data set lies, in the same words however its URI is written; without a URI it lies in the data folder. Raises
    ConfigError."""
    if not is_remote(uri):
        return str((local_path(uri) if uri else data).resolve())
    parts = parts_of(uri)
    scheme = "s3" if parts.scheme == "s3a" else parts.scheme
    endpoint = dict(parse_qsl(parts.query)).get("endpoint", "").rstrip("/")
    return f"{scheme}://{parts.netloc.lower()}/{path_of(parts)}{f' of {endpoint}' if endpoint else ''}"


def parts_of(uri: str) -> SplitResult:
    """The parts of a URI. Raises ConfigError where its host or port is none."""
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # its words quote what may be a password
        raise ConfigError(f"{uri.partition(':')[0]}://…: its host, or its port, is none") from None
    return parts


def path_of(parts: SplitResult) -> str:
    """The folder in a bucket; an object store has none without a name, as between two slashes."""
    return "/".join(filter(None, parts.path.split("/")))


def told(uri: str) -> str:
    """The address as messages show it, without secrets."""
    parts = urlsplit(uri)
    container = f"{parts.username}@" if parts.scheme == "abfss" and parts.username else ""
    return f"{parts.scheme}://{container}{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def local_path(where: str) -> Path:
    """The folder of a path or a `file:` URI. Raises ConfigError."""
    if where.startswith("file:"):
        parts = parts_of(where)
        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
            raise ConfigError(f"{where}: wants file:///PATH, an absolute path on this machine")
        if parts.query or parts.fragment:
            raise ConfigError(f"{where}: a path in a URI has ? as %3F and # as %23")
        where = unquote(parts.path)
    if "\0" in where:
        raise ConfigError(f"{where!r}: a path has no NUL character")
    return Path(where)
