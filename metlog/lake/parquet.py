"""Parquet files of the data set's schema that grow a row group at a time, in memory, compressed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from metlog.lake.schema import SCHEMA

__all__ = ["GrowingParquet", "Parquet"]

_DICTIONARY: Final = [
    "tokens.list.element" if name == "tokens" else name
    for name in SCHEMA.names
    if name not in {"timestamp", "fields", "seq"}
]
"""Columns whose values come again; for the others, making a dictionary is work for nothing, and a larger file."""


class Parquet:
    """How files are compressed: `codec` zstd (with `level`), snappy, gzip or none."""

    def __init__(self, codec: str = "zstd", level: int = 3) -> None:
        self.codec = codec
        self.level = level if codec == "zstd" else None

    def grow(self) -> GrowingParquet:
        """An empty file."""
        return GrowingParquet(self)


class GrowingParquet:
    """A file that is being written. What `take` has given is not kept."""

    def __init__(self, how: Parquet) -> None:
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(
            self._sink, SCHEMA, compression=how.codec, compression_level=how.level, use_dictionary=_DICTIONARY
        )

    def write(self, rows: pa.Table) -> None:
        """Adds a row group; columns that the schema does not have are left out."""
        self._writer.write_table(rows.select(SCHEMA.names).cast(SCHEMA), row_group_size=max(rows.num_rows, 1))

    def close(self, metadata: Mapping[bytes, bytes] | None = None) -> bytes:
        """Ends the file, with this in its footer; gives what was not taken."""
        if metadata:
            self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        return self.take()

    def take(self) -> bytes:
        """What was written since the last call."""
        return self._sink.take()


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
