"""Files of a day read as one ordered stream, with a bound on memory: DuckDB sorts, and spills what does not fit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from metlog.journal.folder import Folder
from metlog.lake.promotion.footer import columns_of, decode
from metlog.lake.sql.views import DEFAULTS

__all__ = ["engine", "matching", "ordered", "schema_of"]

_MEMORY: Final = "512MB"
_BATCH: Final = 8192


@contextmanager
def engine(folder: Folder) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that reads the files of one folder and nothing else, in bounded memory."""
    with tempfile.TemporaryDirectory(prefix="metlog-upkeep-") as spill:
        config: dict[str, Any] = {
            "memory_limit": _MEMORY,
            "temp_directory": spill,
            "threads": 2,
            "autoload_known_extensions": False,
        }
        connection = duckdb.connect(":memory:", config={**config, "autoinstall_known_extensions": False})
        try:
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            connection.execute(
                "SET GLOBAL allowed_directories = $1::VARCHAR[]", [[f"{folder.path.resolve()}/", f"{spill}/"]]
            )
            connection.execute("SET GLOBAL enable_external_access = false")
            connection.execute("SET GLOBAL lock_configuration = true")
            yield connection
        finally:
            connection.close()


def schema_of(folder: Folder, names: Sequence[str]) -> pa.Schema:
    """Returns the columns of some files together, by name: those of the newest file first, then what only older ones have. Promoted
    columns are not among them: they are made anew."""
    schemas = {name: pq.read_schema(folder.path / name) for name in names}
    promoted = {column for name in names for column in _promoted(folder, name)}
    fields: dict[str, pa.Field] = {}
    for name in reversed(names):
        for field in schemas[name]:
            if field.name not in fields and field.name not in promoted:
                fields[field.name] = field if name == names[-1] else field.with_nullable(True)
    schema = pa.schema(list(fields.values()))
    missing = {field.name for name in names for field in schema if field.name not in schemas[name].names}
    return pa.schema([field.with_nullable(True) if field.name in missing else field for field in schema])


def _promoted(folder: Folder, name: str) -> set[str]:
    metadata = pq.read_metadata(folder.path / name)
    return columns_of(decode(metadata.metadata)).keys() & set(metadata.schema.to_arrow_schema().names)


# Every text put into SQL below is a quoted path, a day, or a condition that `metlog.lake.sql.guard` has parsed.
# ruff: noqa: S608


def ordered(
    connection: duckdb.DuckDBPyConnection, folder: Folder, names: Sequence[str], drop: str = ""
) -> Iterator[pa.RecordBatch]:
    """Yields the events of files in the order in which they were received, without those for which the condition `drop` is true."""
    row = "(filename, file_row_number)"
    kept = f"WHERE {row} NOT IN (SELECT {row} {_from(folder, names)} WHERE {drop})" if drop else ""
    order = "ORDER BY received_at, filename, file_row_number"
    # A file from before a column existed has what the view gives for it.
    has = set(schema_of(folder, names).names)
    filled = ", ".join(f"coalesce({name}, {value}) AS {name}" for name, value in DEFAULTS.items() if name in has)
    left = {column for name in names for column in _promoted(folder, name)}
    without = ", ".join(["filename", "file_row_number", *sorted(left)])
    sql = f"SELECT * EXCLUDE ({without}) REPLACE ({filled}) FROM {_files(folder, names)} {kept} {order}"
    yield from connection.sql(sql).to_arrow_reader(_BATCH)


def matching(connection: duckdb.DuckDBPyConnection, folder: Folder, name: str, condition: str) -> int:
    """Returns how many events of a file meet a condition over the columns of the view `events`."""
    ((count,),) = connection.execute(f"SELECT count(*) {_from(folder, [name])} WHERE {condition}").fetchall()
    return int(count)


def _files(folder: Folder, names: Sequence[str]) -> str:
    paths = ", ".join("'" + str(folder.path.resolve() / name).replace("'", "''") + "'" for name in names)
    more = "union_by_name = true, hive_partitioning = false, filename = true, file_row_number = true"
    return f"read_parquet([{paths}], {more})"


def _from(folder: Folder, names: Sequence[str]) -> str:
    """The files' events with the columns and types of the view `events`."""
    day = folder.path.name.removeprefix("date=")
    columns = f"* REPLACE (CAST(fields AS JSON) AS fields), CAST('{day}' AS DATE) AS date"
    return f"FROM (SELECT {columns} FROM {_files(folder, names)})"
