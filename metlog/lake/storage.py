"""Where a data set lies: a local folder, or shared storage by URI. What is written is written once, whole, under its final name.

| URI | through |
| --- | --- |
| a path, `file:///srv/lake` | the operating system; a name appears by `link`, which refuses one that is there |
| `s3://BUCKET/PATH`, `gs://`, `az://` | obstore; one PUT with `If-None-Match: *` |
| `hdfs://HOST:PORT/PATH` | hdfs-native; written beside, then renamed, which refuses a name that is there |

Credentials come from where the store's own tools look for them (`AWS_ACCESS_KEY_ID`, profiles, roles, `HADOOP_CONF_DIR`). The query of a
URI gives options of the store: `s3://lake/events?endpoint=http://127.0.0.1:9000&region=us-east-1`.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

from metlog.errors import ConfigError
from metlog.journal import failpoints
from metlog.journal.folder import Folder, write_all
from metlog.lake.uris import is_hdfs, path_of, told

__all__ = [
    "FolderStorage",
    "Storage",
    "check_uri",
    "environment",
    "open_storage",
]

_CREDENTIALS: Final = frozenset({
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_CLIENT_ID", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_STORAGE_TENANT_ID",
})  # fmt: skip
"""Variables of the environment that a process without one needs."""
_T = TypeVar("_T")


class Storage(Protocol):
    """Every path is relative to the data set and has `/` between its parts. What fails raises OSError."""

    def create(self, path: str, content: bytes | memoryview) -> bool:
        """Makes a whole file, durable when it returns; False, and nothing is changed, when the name is taken."""
        ...

    def names(self, folder: str, prefix: str = "") -> list[str]:
        """Names of the files in a folder that begin so, sorted; none when there is no such folder."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder."""
        ...

    def read(self, path: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        ...

    def open(self, path: str) -> Any:
        """A file for reading at any place in it."""
        ...

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""
        ...

    def describe(self) -> str:
        """The address, without secrets."""
        ...


def check_uri(uri: str) -> None:
    """Raises ConfigError for a URI that no storage here can be opened by; opens nothing."""
    if not is_hdfs(uri):  # whose client would begin to connect
        ObjectStorage(uri)


def open_storage(uri: str, credentials: Mapping[str, str] | None = None) -> Storage:
    """The storage behind a URI. `credentials`: in place of the environment's (see `environment`). Raises ConfigError, OSError."""
    if is_hdfs(uri):
        from metlog.lake.storage_hdfs import HdfsStorage

        found: Storage = HdfsStorage(uri)
        return found
    return ObjectStorage(uri, credentials)


class FolderStorage:
    """A local folder, never through a symbolic link."""

    def __init__(self, root: Folder) -> None:
        self._root = root

    def describe(self) -> str:
        return str(self._root.path)

    def create(self, path: str, content: bytes | memoryview) -> bool:
        *folders, name = path.split("/")
        temporary = f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        with _Opened(self._root, folders, create=True) as folder:
            descriptor = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                failpoints.point("lake.write")
                write_all(descriptor, content)
                failpoints.point("lake.fsync")
                os.fsync(descriptor)
                failpoints.point("lake.link")
                try:
                    os.link(temporary, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
                except FileExistsError:
                    return False
            finally:
                os.close(descriptor)
                folder.unlink(temporary, missing_ok=True)
            failpoints.point("lake.sync")
            folder.sync()
        return True

    def names(self, folder: str, prefix: str = "") -> list[str]:
        try:
            with _Opened(self._root, folder.split("/")) as opened:
                return sorted(entry.name for entry in opened.regular("") if entry.name.startswith(prefix))
        except FileNotFoundError:
            return []

    def folders(self, folder: str) -> list[str]:
        try:
            with _Opened(self._root, folder.split("/")) as opened, os.scandir(opened.fd) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def read(self, path: str) -> bytes:
        *folders, name = path.split("/")
        with _Opened(self._root, folders) as folder:
            return folder.read(name)

    def open(self, path: str) -> Any:
        return io.BytesIO(self.read(path))

    def remove(self, path: str) -> None:
        *folders, name = path.split("/")
        with _Opened(self._root, folders) as folder:
            folder.unlink(name, missing_ok=True)


class _Opened:
    """A folder some levels down, open while it is used."""

    def __init__(self, root: Folder, names: list[str], *, create: bool = False) -> None:
        self._root, self._names, self._create = root, names, create

    def __enter__(self) -> Folder:
        folder = self._root
        for name in self._names:
            try:
                inner = folder.sub(name, create=self._create)
            finally:
                if folder is not self._root:
                    folder.close()
            folder = inner
        self._folder = folder
        return folder

    def __exit__(self, *_: object) -> None:
        if self._folder is not self._root:
            self._folder.close()


class ObjectStorage:
    """A bucket, or a prefix in it, through obstore."""

    def __init__(self, uri: str, credentials: Mapping[str, str] | None = None) -> None:
        import obstore
        from obstore.store import from_url

        parts = urlsplit(uri)
        options: dict[str, Any] = dict(parse_qsl(parts.query))
        client: dict[str, Any] = {"timeout": options.pop("timeout", "30s"), "connect_timeout": "5s"}
        given = os.environ if credentials is None else credentials
        endpoint = options.get("endpoint") or given.get("AWS_ENDPOINT_URL", "")
        if endpoint.startswith("http://"):
            client["allow_http"] = True
        if parts.scheme in {"s3", "s3a"}:
            options.setdefault("region", given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or "us-east-1")
        # The names of these variables are keys of the store's configuration too; what stands in the URI comes first.
        known = {f"{prefix}{key}".lower() for key in options for prefix in ("", "aws_", "google_", "azure_")}
        options |= {
            key.lower(): value
            for key, value in (credentials or {}).items()
            if key in _CREDENTIALS and key.lower() not in known
        }
        self._obstore: Any = obstore
        self._uri = told(uri)
        retries: Any = {"max_retries": 2}
        try:
            make: Any = from_url
            self._store = make(
                f"{parts.scheme}://{parts.netloc}/{path_of(parts)}".rstrip("/"), config=options,
                client_options=client, retry_config=retries,
            )  # fmt: skip
        except Exception as error:
            raise ConfigError(f"{self._uri}: {_words(error)}") from error

    def describe(self) -> str:
        return self._uri

    def create(self, path: str, content: bytes | memoryview) -> bool:
        from obstore.exceptions import AlreadyExistsError

        failpoints.point("lake.put")
        try:
            self._tried(
                path, lambda: self._obstore.put(self._store, path, bytes(content), mode="create"), AlreadyExistsError
            )
        except AlreadyExistsError:
            return False
        failpoints.point("lake.stored")
        return True

    def names(self, folder: str, prefix: str = "") -> list[str]:
        # Object stores list by whole path segments or from a key on, not by the beginning of a name: a folder is a day's files.
        start = f"{folder}/{prefix}"
        found: list[str] = []

        def walk() -> None:
            found.clear()
            for page in self._obstore.list(self._store, prefix=f"{folder}/", offset=start[:-1] if prefix else None):
                for item in page:
                    path = item["path"]
                    if not path.startswith(start):
                        if prefix and path > start:
                            return
                        continue
                    if "/" not in path[len(folder) + 1 :]:
                        found.append(path[len(folder) + 1 :])

        self._tried(folder, walk)
        return sorted(found)

    def folders(self, folder: str) -> list[str]:
        found = self._tried(folder, lambda: self._obstore.list_with_delimiter(self._store, prefix=f"{folder}/"))
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    def read(self, path: str) -> bytes:
        return self._tried(path, lambda: bytes(self._obstore.get(self._store, path).bytes()))

    def open(self, path: str) -> Any:
        size = self._tried(path, lambda: int(self._obstore.head(self._store, path)["size"]))
        return _Ranges(size, lambda start, end: self._range(path, start, end))

    def _range(self, path: str, start: int, end: int) -> bytes:
        return self._tried(path, lambda: bytes(self._obstore.get_range(self._store, path, start=start, end=end)))

    def remove(self, path: str) -> None:
        try:
            self._tried(path, lambda: self._obstore.delete(self._store, path))
        except FileNotFoundError:
            pass

    def _tried(self, path: str, call: Callable[[], _T], wanted: type[Exception] = OSError) -> _T:
        """What the call gives; what obstore raises becomes OSError with the address."""
        try:
            return call()
        except (OSError, wanted):
            raise
        except Exception as error:
            raise OSError(f"{self._uri}/{path}: {_words(error)}") from error
        except BaseException as error:
            if type(error).__name__ == "PanicException":  # of Rust, which must not end a process here
                raise OSError(f"{self._uri}/{path}: {_words(error)}") from error
            raise


class _Ranges(io.RawIOBase):
    """An object as a file: each read is a request for that range."""

    def __init__(self, size: int, get: Callable[[int, int], bytes]) -> None:
        self._size = size
        self._get = get
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if self._at >= end:
            return b""
        content = self._get(self._at, end)
        self._at += len(content)
        return content


def _words(error: BaseException) -> str:
    """The first line of an error, without the debug text that follows it."""
    text = " ".join(str(error).partition("\n\nDebug source")[0].split())
    return text[:500] or type(error).__name__


def environment() -> dict[str, str]:
    """What object stores find in this process's environment, for a process that has none of it."""
    wanted = {*_CREDENTIALS, "AWS_REGION", "AWS_DEFAULT_REGION"}
    return {key: value for key, value in os.environ.items() if key in wanted}
