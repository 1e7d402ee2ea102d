"""The views: `events` over Parquet files and the journal, `arrivals`, the same in the order in which they came, `files` of
what lies on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from metlog.journal.segment import SegmentName
from metlog.lake.columns import COLUMNS
from metlog.lake.promotion.footer import Promoted, columns_of, decode
from metlog.lake.schema import SCHEMA
from metlog.lake.sql.guard import QueryError
from metlog.lake.sql.promoted import Hidden

__all__ = ["DEFAULTS", "any_promoted", "events_view", "files_table", "numbered", "reads_as_column"]

DEFAULTS: Final = {"weight": "1.0", "tokens": "[]", "fields": "'{}'", "severity": "6", "env_version": "'1'"}
"""What a column holds in a file from before it existed, where NULL would be wrong."""


Far = tuple[str, Mapping[str, Promoted]]
"""The name of a table over files on shared storage, with DATED_SCHEMA and these promoted columns."""


def events_view(
    files: Sequence[tuple[date, Path]],
    fresh: bool,
    *,
    limited: bool = False,
    arrivals: bool = False,
    remote: Sequence[Far] = (),
    hidden: Sequence[Hidden] = (),
) -> str:
    """The SELECT behind `events`. `fresh`: the table `metlog_fresh` has rows; `remote`: tables over files on shared storage;
    `limited`: only the services in `metlog_loggers`, behind a barrier that keeps a query's own conditions from being tried on other
    services' events. `arrivals`: the one behind the view of that name; `metlog_fresh` must be `numbered`. `hidden`: columns of the view
    `metlog_promoted` at the end: files with and without a promoted column are read apart, each with what it needs."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for _, path in files:
        columns, promoted = _described(path, _identity(path))
        found = [column.sql(columns[_FIELDS].removesuffix(" AS fields"), promoted) for column in hidden]
        if reads_as_column(path.parent.parent):
            columns = tuple(_DAY if column == "date" else column for column in columns)
        groups.setdefault((*columns, *found), []).append(path)
    more = [f"{source} AS {name}" for name, source in _ARRIVAL.items()] if arrivals else ()
    parts = [
        f"SELECT {', '.join((*columns, *more))} FROM {_parquet(paths, arrivals, by_folder='date' in columns)}"  # noqa: S608 - our own names, quoted paths
        for columns, paths in groups.items()
    ]
    names = [_column(name, *_UNCOMMITTED[name]) for name in COLUMNS] + [*(_ARRIVAL if arrivals else ())]
    for table, promoted in (*remote, *([("metlog_fresh", {})] if fresh or not (parts or remote) else [])):
        more = [column.sql("CAST(fields AS JSON)", promoted) for column in hidden]
        parts.append(f"SELECT {', '.join((*names, *more))} FROM {table}")  # noqa: S608 - our own names
    view = "\nUNION ALL\n".join(parts)
    if not limited:
        return view
    # The optimizer never moves a filter below a LIMIT. Without it, `CAST(payload AS INT)` in a WHERE would run on every
    # event, and its error message, or that there is one, would tell what another service logged.
    # The rows of `arrivals` are numbered anew: gaps would tell how much the others log, and when.
    shown = f"* REPLACE ({_ANEW} AS arrival_row)" if arrivals else "*"
    return f"SELECT {shown} FROM ({view}) WHERE logger IN (SELECT logger FROM metlog_loggers) LIMIT 9223372036854775807"  # noqa: S608 - our own names


_DAY: Final = "CAST(timestamp AS DATE) AS date"
"""The day where it cannot come from the folders' names; sessions are in UTC."""


def reads_as_column(folder: Path) -> bool:
    """Whether a part of the path, such as `type=prod`, would give all files below it a column: DuckDB reads the folders' names from the
    root of the file system on, not only those below the data folder."""
    return any("=" in part and part.partition("=")[0].lower() in COLUMNS for part in folder.parts)


_ARRIVAL: Final = {"arrival_file": "parse_filename(filename)", "arrival_row": "file_row_number"}
_ANEW: Final = "row_number() OVER (PARTITION BY arrival_file ORDER BY arrival_row) - 1"


def numbered(fresh: pa.Table) -> pa.Table:
    """The events that are in no file yet with the two columns that say in which order they came: after those in files."""
    rows = pa.array(range(fresh.num_rows), pa.int64())
    return fresh.append_column("arrival_file", pa.repeat("~", fresh.num_rows)).append_column("arrival_row", rows)


def files_table(data: Path, files: Sequence[tuple[date, Path]], remote: Sequence[dict[str, Any]] = ()) -> pa.Table:
    """What the data folder holds: these Parquet files by day, `remote` ones as they come, and the journal's segments, of the day
    of their last write (how many events are in them is not counted: NULL)."""
    rows = [*remote]
    for day, path in files:
        size, events = path.stat().st_size, _number_of_rows(path, _identity(path))
        rows.append({"date": day, "kind": "parquet", "name": path.name, "bytes": size, "events": events})
    for path in sorted((data / "journal").glob("*/*")):
        if SegmentName.parse(path.stem) is None:
            continue
        try:
            found = path.stat()
        except FileNotFoundError:  # handed on since it was listed
            continue
        written = datetime.fromtimestamp(found.st_mtime, UTC).date()
        rows.append({"date": written, "kind": "journal", "name": path.name, "bytes": found.st_size, "events": None})
    return pa.Table.from_pylist(rows, schema=_FILES)


def _identity(path: Path) -> tuple[int, int]:
    """What changes when another file takes the name: a file's content never does."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=100_000)
def _number_of_rows(path: Path, identity: tuple[int, int]) -> int:
    return int(pq.read_metadata(path).num_rows)


_FILES: Final = pa.schema(
    {"date": pa.date32(), "kind": pa.string(), "name": pa.string(), "bytes": pa.int64(), "events": pa.int64()}
)


def _parquet(paths: Sequence[Path], arrivals: bool, *, by_folder: bool) -> str:
    names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    more = ", filename = true, file_row_number = true" if arrivals else ""
    folders = "hive_partitioning = true, hive_types = {'date': DATE}" if by_folder else "hive_partitioning = false"
    return f"read_parquet([{names}], {folders}{more})"


def any_promoted(files: Sequence[tuple[date, Path]], names: Set[str | None]) -> bool:
    """Whether one of the files has a column for one of these names in `fields`."""
    return any(not names.isdisjoint(_described(path, _identity(path))[1]) for _, path in files)


@lru_cache(maxsize=100_000)
def _described(path: Path, identity: tuple[int, int]) -> tuple[tuple[str, ...], Mapping[str, Promoted]]:
    """How the view reads a file, and its promoted columns by their names in `fields`; each footer is read once a process."""
    try:
        metadata = pq.read_metadata(path)
        found = {field.name: field.type for field in metadata.schema.to_arrow_schema()}
    except pa.ArrowInvalid as error:
        raise QueryError(f"{path} cannot be read: {error}", "failed") from error
    columns = tuple(
        _column(name, sql_type, found.get(name)) if name != "date" else "date" for name, sql_type in COLUMNS.items()
    )
    said = decode(metadata.metadata)
    promoted = {entry.name: entry for entry in said if entry.right and columns_of([entry]).items() <= found.items()}
    return columns, promoted


_FIELDS: Final = [*COLUMNS].index("fields")


def _column(name: str, sql_type: str, found: pa.DataType | None) -> str:
    if found is None:
        return f"CAST({DEFAULTS.get(name, 'NULL')} AS {sql_type}) AS {name}"
    expected = _UNCOMMITTED[name][1]
    if found.equals(expected) and sql_type != "JSON":
        return name
    return f"CAST({name} AS {sql_type}) AS {name}"


_UNCOMMITTED: Final = {
    name: (sql_type, pa.date32() if name == "date" else SCHEMA.field(name).type) for name, sql_type in COLUMNS.items()
}
