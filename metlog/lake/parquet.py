"""Parquet files of the data set's schema that grow a row group at a time, in memory, compressed."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from metlog.journal.folder import Folder
from metlog.lake.promotion.choice import Promotion
from metlog.lake.promotion.columns import FileColumns
from metlog.lake.schema import SCHEMA

__all__ = ["NAME", "GrowingParquet", "Parquet", "may_replace"]

NAME: Final = b"metlog.name"
"""Key in the footer: the name that a file was written under. What upkeep makes of one or more files does not have it, whatever its name."""

_DICTIONARY: Final = [
    "tokens.list.element" if name == "tokens" else name
    for name in SCHEMA.names
    if name not in {"timestamp", "fields", "seq"}
]
"""Columns whose values come again; for the others, making a dictionary is work for nothing, and a larger file."""


_UNBOUNDED: Final = frozenset({"fields", "payload", "tokens"})
"""Columns without a least and a greatest value in the footer: these let a reader skip nothing, and cost a comparison a row."""
_BOUNDED: Final = [name for name in SCHEMA.names if name not in _UNBOUNDED]


class Parquet:
    """How files are made. `codec`: compressed by zstd (with `level`), snappy, gzip or none. `promotion`: which names of `fields` get
    columns of their own; None: none of them."""

    def __init__(self, codec: str = "zstd", level: int = 3, promotion: Promotion | None = None) -> None:
        self.codec = codec
        self.level = level if codec == "zstd" else None
        self.promotion = promotion

    def grow(self) -> GrowingParquet:
        """An empty file."""
        return GrowingParquet(self)


class GrowingParquet:
    """A file that is being written. What `take` has given is not kept."""

    def __init__(self, how: Parquet) -> None:
        self._how = how
        self._sink = _Sink()
        self._promoted = FileColumns(())
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.Table) -> None:
        """Adds a row group; columns that the schema does not have are left out. Raises OSError when it is not known which names of
        `fields` have columns."""
        rows = rows.select(SCHEMA.names).cast(SCHEMA)
        if self._writer is None and self._how.promotion is not None:
            self._promoted = self._how.promotion.file(rows)
        rows = self._promoted.extend(rows)
        self._open().write_table(rows, row_group_size=max(rows.num_rows, 1))

    def close(self, metadata: Mapping[bytes, bytes] | None = None) -> bytes:
        """Ends the file, with this in its footer; gives what was not taken."""
        writer = self._open()
        if said := {**(metadata or {}), **self._promoted.footer()}:
            writer.add_key_value_metadata(said)
        writer.close()
        return self.take()

    def _open(self) -> pq.ParquetWriter:
        """The writer: its columns are known with the first row group."""
        if self._writer is None:
            schema = pa.schema([*SCHEMA, *self._promoted.schema])
            dictionary = [*_DICTIONARY, *self._promoted.dictionaries]
            bounded = [*_BOUNDED, *self._promoted.bounded]
            self._writer = pq.ParquetWriter(
                self._sink,
                schema,
                compression=self._how.codec,
                compression_level=self._how.level,
                use_dictionary=dictionary,
                write_statistics=bounded,
            )
        return self._writer

    def take(self) -> bytes:
        """What was written since the last call."""
        return self._sink.take()


def may_replace(folder: Folder, name: str) -> bool:
    """Returns whether who writes a file of this name may put it there: the name is free, or an earlier writing of the same file has it.
    Else upkeep has made another file of that earlier writing, which may have the events of others too. Raises OSError for a file that
    cannot be read."""
    try:
        descriptor = folder.open(name, os.O_RDONLY)
    except FileNotFoundError:
        return True
    with os.fdopen(descriptor, "rb") as file:
        try:
            return (pq.read_metadata(file).metadata or {}).get(NAME) == name.encode()
        except pa.ArrowInvalid as error:
            raise OSError(
                f"{folder.path / name} is no Parquet file, and its name is wanted; move it elsewhere"
            ) from error


class _Sink(io.RawIOBase):
    """Takes what the Parquet writer writes, until it is handed on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
