"""HDFS through hdfs-native: no JVM, no libhdfs."""

from __future__ import annotations

import io
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from metlog.errors import ConfigError
from metlog.journal import failpoints

__all__ = ["HdfsStorage"]


class HdfsStorage:
    """A folder of HDFS; what the files of a Hadoop installation say (`HADOOP_CONF_DIR`) holds here too. Options of the client may
    stand in the URI's query (`hdfs://name/lake?dfs.replication=2`)."""

    def __init__(self, uri: str) -> None:
        from hdfs_native import Client

        parts = urlsplit(uri)
        self._address = f"hdfs://{parts.netloc}"
        self._root = parts.path.rstrip("/")
        try:
            self._client = Client(self._address, dict(parse_qsl(parts.query)) or None)
        except RuntimeError as error:  # a name without a port that the files of the installation do not know
            raise ConfigError(
                f"{self.describe()}: {error}; wants hdfs://HOST:PORT/PATH, or a name service of HADOOP_CONF_DIR"
            ) from error

    def describe(self) -> str:
        return f"{self._address}{self._root}"

    def create(self, path: str, content: bytes | memoryview) -> bool:
        from hdfs_native import WriteOptions

        target = f"{self._root}/{path}"
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/.{name}.{secrets.token_hex(8)}.tmp"
        failpoints.point("lake.put")
        if self._exists(target):
            return False
        with self._client.create(temporary, WriteOptions(create_parent=True)) as file:
            file.write(bytes(content))
        try:
            self._client.rename(temporary, target, False)
        except Exception:
            self._client.delete(temporary)
            if self._exists(target):  # somebody else was first
                return False
            raise
        failpoints.point("lake.stored")
        return True

    def _exists(self, target: str) -> bool:
        try:
            self._client.get_file_info(target)
        except FileNotFoundError:
            return False
        return True

    def _listed(self, folder: str) -> list[Any]:
        try:
            return list(self._client.list_status(f"{self._root}/{folder}"))
        except FileNotFoundError:
            return []

    def names(self, folder: str, prefix: str = "") -> list[str]:
        names = (item.path.rpartition("/")[2] for item in self._listed(folder) if not item.isdir)
        return sorted(name for name in names if name.startswith(prefix))

    def folders(self, folder: str) -> list[str]:
        return sorted(item.path.rstrip("/").rpartition("/")[2] for item in self._listed(folder) if item.isdir)

    def read(self, path: str) -> bytes:
        with self._client.read(f"{self._root}/{path}") as file:
            return bytes(file.read())

    def open(self, path: str) -> Any:
        return io.BytesIO(self.read(path))

    def remove(self, path: str) -> None:
        if self._exists(f"{self._root}/{path}"):
            self._client.delete(f"{self._root}/{path}")
