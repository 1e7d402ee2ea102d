"""Parquet files on shared storage, read through Arrow: DuckDB gets a table, and neither an address nor a credential."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from metlog.journal.offsets import Spans
from metlog.lake.chains import held_of
from metlog.lake.days import day_of
from metlog.lake.promotion.footer import Promoted, columns_of, decode
from metlog.lake.schema import DATED_SCHEMA
from metlog.lake.sql.guard import QueryError
from metlog.lake.storage import environment, open_storage
from metlog.lake.uris import path_of

__all__ = ["Remote"]

_PARQUET: Final = ".parquet"
_MOST: Final = 5_000_000
"""Events that the view `arrivals` may have in memory."""
_COPIED: Final = 4 << 30
"""Bytes of files that are copied to this machine, where they must be."""
_KEPT: Final = 100_000
"""Files of which the footer is kept."""


class Remote:
    """The data set at a URI. For one thread at a time, but for what `dataset` gives."""

    def __init__(self, uri: str, credentials: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self._storage = open_storage(uri, credentials)
        found = _arrow_system(uri, environment() if credentials is None else credentials)
        self.fetches = found is None
        """Whether files are copied to this machine to be read (`fetch`), since Arrow cannot read them where they lie."""
        self._system: Any = None if found is None else found[0]
        self._root = "" if found is None else found[1]
        self._format = ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True)
        )
        self._fragments: dict[tuple[date, str], ds.ParquetFileFragment] = {}
        self._fetched: dict[Path, int] = {}
        self._held: dict[tuple[date, str], Spans] = {}

    def files(self, since: date | None, until: date | None) -> list[tuple[date, str]]:
        """The files of the days between the two, by day and name. Only these days are listed. Raises OSError."""
        found = []
        for folder in self._storage.folders("events"):
            day = day_of(folder)
            if day is None or (since is not None and day < since) or (until is not None and day > until):
                continue
            names = self._storage.names(f"events/{folder}")
            found += [(day, name) for name in names if name.endswith(_PARQUET) and not name.startswith(".")]
        return found

    def held(self, day: date, name: str) -> Spans:
        """The offsets that a chain holds up to a file."""
        known = self._held.get((day, name))
        if known is None:
            with self._storage.open(_path(day, name)) as file:
                known = held_of(file, f"{self._storage.describe()}/{_path(day, name)}")
            self._held[day, name] = known
        return known

    def dataset(self, files: Sequence[tuple[date, str]], promoted: Collection[Promoted] = ()) -> ds.Dataset:
        """These files as a table with DATED_SCHEMA and these columns, which all of them have; read when it is scanned, and only
        the columns and row groups that are wanted."""
        more = [pa.field(name, kind) for name, kind in columns_of(promoted).items()]
        schema = pa.schema([*DATED_SCHEMA, *more])
        return ds.FileSystemDataset([self._fragment(*file) for file in files], schema, self._format, self._system)

    def promoted(
        self, files: Sequence[tuple[date, str]], names: Collection[str | None]
    ) -> list[tuple[Mapping[str, Promoted], ds.Dataset]]:
        """The files as tables by what they have of the promoted columns of these names; each footer is read once."""
        groups: dict[tuple[Promoted, ...], list[tuple[date, str]]] = {}
        for file in files:
            said = decode(self._fragment(*file).metadata.metadata)
            found = tuple(entry for entry in said if entry.right and entry.name in names)
            groups.setdefault(found, []).append(file)
        return [({entry.name: entry for entry in found}, self.dataset(group, found)) for found, group in groups.items()]

    def arrivals(self, files: Sequence[tuple[date, str]]) -> pa.Table:
        """These files' events with the columns of the view `arrivals`, in memory."""
        parts = []
        rows = 0
        for day, name in files:
            part = self._fragment(day, name).to_table(schema=DATED_SCHEMA)
            rows += part.num_rows
            if rows > _MOST:
                raise QueryError(
                    f"arrivals: more than {_MOST:,} events lie on shared storage for this; ask for fewer days", "memory"
                )
            parts.append(
                part.append_column("arrival_file", pa.repeat(name, part.num_rows)).append_column(
                    "arrival_row", pa.array(range(part.num_rows), pa.int64())
                )
            )
        return pa.concat_tables(parts)

    def sizes(self, files: Sequence[tuple[date, str]]) -> list[dict[str, Any]]:
        """What the view `files` says of them."""
        found = []
        for day, name in files:
            with self._storage.open(_path(day, name)) as file:
                file.seek(0, 2)
                size = file.tell()
            events = self._fragment(day, name).metadata.num_rows
            found.append({"date": day, "kind": "parquet", "name": name, "bytes": size, "events": events})
        return found

    def fetch(self, files: Sequence[tuple[date, str]], folder: Path) -> list[tuple[date, Path]]:
        """Copies of these files in `folder`, made once each; those of earlier queries make room. Raises OSError, and QueryError before more
        than one file beyond the limit is copied."""
        found = [(day, folder / f"date={day.isoformat()}" / name) for day, name in files]
        wanted = {target for _, target in found}
        others = [path for path in reversed(self._fetched) if path not in wanted]
        needed = sum(size for path, size in self._fetched.items() if path in wanted)
        for (day, name), (_, target) in zip(files, found, strict=True):
            self._make_room(needed, others)
            if not target.exists():
                self._copy(day, name, target)
            if target not in self._fetched:
                self._fetched[target] = target.stat().st_size
                needed += self._fetched[target]
        self._make_room(needed, others)
        return found

    def _make_room(self, needed: int, others: list[Path]) -> None:
        """Removes the last of other copies, until all of them are few enough beside the bytes that are needed."""
        if needed > _COPIED:
            raise QueryError(
                f"more than {_COPIED >> 30} GiB would have to be copied from {self._storage.describe()}; ask for fewer days",
                "memory",
            )
        spare = sum(self._fetched[path] for path in others)
        while others and needed + spare > _COPIED:
            path = others.pop()
            path.unlink(missing_ok=True)
            spare -= self._fetched.pop(path)

    def _copy(self, day: date, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{name}.tmp")
        try:
            temporary.write_bytes(self._storage.read(_path(day, name)))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _fragment(self, day: date, name: str) -> ds.ParquetFileFragment:
        known = self._fragments.get((day, name))
        if known is None:
            known = self._format.make_fragment(
                f"{self._root}/{_path(day, name)}",
                self._system,
                partition_expression=ds.field("date") == pa.scalar(day),
            )
            if len(self._fragments) >= _KEPT:
                self._fragments.clear()
            self._fragments[day, name] = known
        return known


def _path(day: date, name: str) -> str:
    return f"events/date={day.isoformat()}/{name}"


def _arrow_system(uri: str, credentials: Mapping[str, str]) -> tuple[Any, str] | None:
    """Arrow's own file system for a URI, and the path of the data set in it; None where Arrow has none. (One of Python's, which Arrow
    takes too, can stop for ever: a scanner that is started with the interpreter's lock waits for threads that want that lock.)"""
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query))
    root = f"{parts.netloc}/{path_of(parts)}".rstrip("/")
    if parts.scheme in {"s3", "s3a"}:
        endpoint = options.get("endpoint") or credentials.get("AWS_ENDPOINT_URL", "")
        scheme, _, host = endpoint.rpartition("://")
        more: dict[str, Any] = {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"} if host else {}
        if "AWS_ACCESS_KEY_ID" in credentials:
            more["access_key"] = credentials["AWS_ACCESS_KEY_ID"]
            more["secret_key"] = credentials.get("AWS_SECRET_ACCESS_KEY", "")
            more["session_token"] = credentials.get("AWS_SESSION_TOKEN")
        region = (
            options.get("region")
            or credentials.get("AWS_REGION")
            or credentials.get("AWS_DEFAULT_REGION")
            or "us-east-1"
        )
        return pafs.S3FileSystem(region=region, connect_timeout=5, request_timeout=30, **more), root
    if parts.scheme == "gs":
        return pafs.GcsFileSystem(), root
    return None
