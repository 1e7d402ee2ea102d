"""Parquet files on shared storage, read through Arrow: DuckDB gets a table, and neither an address nor a credential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from metlog.journal.offsets import Spans
from metlog.lake.backlog import day_of
from metlog.lake.chains import held_of
from metlog.lake.schema import COLUMNS, DATED_SCHEMA
from metlog.lake.sql.guard import QueryError
from metlog.lake.storage import open_storage

__all__ = ["Remote"]

_PARQUET: Final = ".parquet"
_MOST: Final = 5_000_000
"""Events that the view `arrivals` may have in memory."""
_KEPT: Final = 100_000
"""Files of which the footer is kept."""


class Remote:
    """The data set at a URI. For one thread at a time, but for what `dataset` gives."""

    def __init__(self, uri: str, credentials: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self._storage = open_storage(uri, credentials)
        self._system = pafs.PyFileSystem(_Handler(self._storage))
        self._format = ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True)
        )
        self._fragments: dict[tuple[date, str], ds.ParquetFileFragment] = {}
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

    def dataset(self, files: Sequence[tuple[date, str]]) -> ds.Dataset:
        """These files as a table with DATED_SCHEMA, read when it is scanned, and only the columns and row groups that are wanted."""
        return ds.FileSystemDataset([self._fragment(*file) for file in files], DATED_SCHEMA, self._format, self._system)

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

    def _fragment(self, day: date, name: str) -> ds.ParquetFileFragment:
        known = self._fragments.get((day, name))
        if known is None:
            known = self._format.make_fragment(
                _path(day, name), self._system, partition_expression=ds.field("date") == pa.scalar(day)
            )
            if len(self._fragments) >= _KEPT:
                self._fragments.clear()
            self._fragments[day, name] = known
        return known


def remote_columns() -> str:
    """The columns of `events` in the table of a dataset."""
    return ", ".join(f"CAST({name} AS {kind}) AS {name}" if kind == "JSON" else name for name, kind in COLUMNS.items())


def _path(day: date, name: str) -> str:
    return f"events/date={day.isoformat()}/{name}"


class _Handler(pafs.FileSystemHandler):  # type: ignore[misc]  # Arrow has no types
    """What Arrow reads of a storage: files, by their names."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler) and other._storage is self._storage

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # Arrow compares, and does not hash

    def get_type_name(self) -> str:
        return "metlog"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        return [pafs.FileInfo(path, pafs.FileType.File) for path in paths]

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(self._storage.open(path), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def _refused(self, *_: Any) -> Any:
        raise NotImplementedError("files of the data set are read here, and nothing else")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refused
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refused
