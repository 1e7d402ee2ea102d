"""Events from files: NDJSON, JSON arrays, Parquet. Each file's events once, however often it is imported."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from metlog.errors import MetlogError
from metlog.event import Event
from metlog.journal import failpoints
from metlog.journal.folder import Folder
from metlog.journal.rows import micros
from metlog.lake.days import day_folders
from metlog.lake.parquet import NAME, Parquet, may_replace
from metlog.lake.replacing import Replacement, replace
from metlog.lake.schema import SCHEMA
from metlog.lake.upkeep.folders import PATIENCE, Progress, Upkeep, opened
from metlog.lake.upkeep.imports import finished, is_part_of, part_name, remember
from metlog.lake.writer import PARQUET
from metlog.values import sanitize

__all__ = ["Imported", "ImportFault", "Names", "examine_file", "import_file"]

_CHUNK: Final = 50_000
"""Events of an imported file that are written together."""
_LONGEST: Final = 16 << 20
"""Bytes of a line."""
_TIMES: Final = ("timestamp", "@timestamp", "time", "eventTime", "ts", "date", "datetime", "created_at")
_ADDED: Final = frozenset({*SCHEMA.names, "date"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ImportFault(MetlogError):
    """A file cannot be imported as it is; says the line or the record."""


class Names(Struct, frozen=True, kw_only=True):
    """How a record that is no metlog event becomes one."""

    type: str = "import"
    logger: str = ""
    time: str = ""
    """Member with the time; the first of the usual names when empty."""
    payload: str = ""
    """Member that becomes the payload."""


class Imported(Struct):
    """What became of a file."""

    events: int = 0
    skipped: int = 0
    """Lines and records that are no events."""
    already: bool = False
    """The same content was imported before."""
    first_fault: str = ""


def import_file(
    data: Path,
    path: Path,
    *,
    mapping: Names = Names(),  # noqa: B008 - immutable
    strict: bool = False,
    level: int = 3,
    progress: Progress = lambda what, done, of: None,
) -> Imported:
    """Writes the events of a file into the data set. A killed import goes on where it was; a file that was imported is known by its
    content and left out.

    The file is NDJSON, a JSON array, an object with one array (`{"Records": […]}`, as CloudTrail writes it), each also
    with gzip, or Parquet. An object with the members of an event is taken as it is, others that it has as `fields`; any other by
    `mapping`, its members as `fields`.
    `strict` ends at the first record that is none. Raises `ImportFault`, and then none of its events is there; `UpkeepError`, OSError.
    """
    done = Imported()
    with opened(data) as upkeep:
        digest = _digest(path, progress)
        if finished(upkeep.root).has(digest):
            return Imported(already=True)
        size = path.stat().st_size
        written: set[tuple[date, str]] = set()
        try:
            for part, events in enumerate(_chunks(path, mapping, strict, done, size, progress)):
                name = part_name(digest, part)
                written.update((day, name) for day in _write(upkeep, name, events, level))
        except ImportFault as error:  # mended, the file is another one: what came before the fault would come twice
            _remove_others(upkeep, digest, ())
            raise ImportFault(f"{error}; none of its events is imported") from None
        _remove_others(upkeep, digest, written)
        failpoints.point("import.written")
        remember(upkeep.root, digest, path.name, done.events, done.skipped)
        failpoints.point("import.known")
        upkeep.record("import", name=path.name, events=done.events, skipped=done.skipped)
    return done


def examine_file(
    data: Path,
    path: Path,
    *,
    mapping: Names = Names(),  # noqa: B008 - immutable
    strict: bool = False,
    progress: Progress = lambda what, done, of: None,
) -> Imported:
    """Returns what `import_file` would make of a file, and writes nothing. The data folder need not be there."""
    done = Imported()
    if data.is_dir():
        with Folder.root(data) as root:
            if finished(root).has(_digest(path, progress)):
                return Imported(already=True)
    for _ in _chunks(path, mapping, strict, done, path.stat().st_size, progress):
        pass
    return done


def _digest(path: Path, progress: Progress) -> str:
    progress("reading", 0, 0)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chunks(
    path: Path, mapping: Names, strict: bool, done: Imported, size: int, progress: Progress
) -> Iterator[list[Event]]:
    events: list[Event] = []
    for number, (record, at) in enumerate(_records(path), 1):
        try:
            events.append(_event(record, mapping))
        except (ValueError, OverflowError) as error:  # msgspec.ValidationError is a ValueError
            done.skipped += 1
            fault = f"{path}: record {number}: {error}"
            done.first_fault = done.first_fault or fault
            if strict:
                raise ImportFault(fault) from None
            continue
        if len(events) >= _CHUNK:
            done.events += len(events)
            progress(path.name, at, size)
            yield events
            events = []
    done.events += len(events)
    if events:
        yield events


def _records(path: Path) -> Iterator[tuple[Any, int]]:
    """The records of a file, each with how many of its bytes were read. Raises `ImportFault` for a damaged one."""
    try:
        yield from _read(path)
    except (EOFError, zlib.error, pa.ArrowException) as error:
        raise ImportFault(f"{path}: damaged: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise ImportFault(f"{path}: damaged: {error}") from None  # gzip's and Arrow's own


def _read(path: Path) -> Iterator[tuple[Any, int]]:
    with path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        if start == b"PAR1":
            yield from _parquet_records(path)
            return
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if start[:2] == b"\x1f\x8b" else raw
        yield from _json_records(path, stream, raw)


def _parquet_records(path: Path) -> Iterator[tuple[Any, int]]:
    with pq.ParquetFile(path) as file:
        rows = file.metadata.num_rows
        read = 0
        for batch in file.iter_batches(10_000):
            for record in _whole_micros(batch).to_pylist():
                read += 1
                if isinstance(record.get("fields"), str) and isinstance(found := _decoded(record["fields"]), Mapping):
                    record["fields"] = found
                yield (
                    {name: value for name, value in record.items() if value is not None},
                    path.stat().st_size * read // rows,
                )


def _whole_micros(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The columns, with times of nanoseconds as `datetime` can be: pandas and Spark write such."""
    for index, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            kind = pa.timestamp("us", field.type.tz)
            batch = batch.set_column(index, field.name, batch.column(index).cast(kind, safe=False))
    return batch


def _json_records(path: Path, stream: BinaryIO, raw: BinaryIO) -> Iterator[tuple[Any, int]]:
    first = stream.readline(_LONGEST + 1 + len(BOM_UTF8)).removeprefix(BOM_UTF8)
    whole = first.lstrip()
    if whole[:1] == b"[" or (whole[:1] == b"{" and not _is_object(whole)):
        rest = stream.read(1 << 30)
        if stream.read(1):
            raise ImportFault(f"{path}: an array of more than {1 << 30} bytes; split it, or write a record a line")
        yield from ((record, raw.tell()) for record in _array(path, first + rest))
        return
    line = first
    while line:
        if len(line) > _LONGEST:
            raise ImportFault(f"{path}: a line of more than {_LONGEST} bytes")
        if text := line.strip():
            record = _decoded(text)
            yield from (
                ((item, raw.tell()) for item in _unwrapped(record)) if _unwrapped(record) else [(record, raw.tell())]
            )
        line = stream.readline(_LONGEST + 1)


def _is_object(line: bytes) -> bool:
    """Whether the line is an object by itself, and not the beginning of one over several lines."""
    try:
        msgspec.json.decode(line)
    except msgspec.DecodeError:
        return b"}" in line.rstrip()[-1:]
    return True


def _decoded(text: bytes | str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return error


def _array(path: Path, text: bytes) -> Sequence[Any]:
    found = _decoded(text)
    if isinstance(found, Exception):
        raise ImportFault(f"{path}: neither a record a line nor JSON: {found}")
    if isinstance(found, list):
        return found
    return _unwrapped(found) or [found]


def _unwrapped(record: Any) -> Sequence[Any]:
    """The records of an object whose only list of objects is `Records` or the like; none for a record itself."""
    if isinstance(record, Mapping) and len(record) <= 3 and "type" not in record:
        lists = [
            value for value in record.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)
        ]
        if len(lists) == 1 and not any(isinstance(value, Mapping) for value in record.values()):
            return lists[0]
    return []


def _event(record: Any, mapping: Names) -> Event:
    if isinstance(record, Exception):
        raise ValueError(f"not JSON: {record}")
    if not isinstance(record, Mapping):
        raise ValueError("wants an object")
    fields = dict(record)
    if isinstance(fields.get("type"), str) and isinstance(fields.get("fields", {}), Mapping) and "timestamp" in fields:
        known = {name: fields.pop(name) for name in Event.__struct_fields__ if name in fields}
        if "received_at" in fields:  # metlog's own: what its listener and its view add
            fields = {name: value for name, value in fields.items() if name not in _ADDED}
        if fields:
            known["fields"] = {**fields, **known.get("fields", {})}
        return sanitize(msgspec.convert(known, Event, strict=False))[0]
    names = [mapping.time] if mapping.time else _TIMES
    name = next((name for name in names if name in fields), None)
    if name is None:
        raise ValueError(f"has no time: none of {', '.join(names)}; say --time NAME")
    moment = _moment(fields.pop(name))
    payload = fields.pop(mapping.payload, "") if mapping.payload else ""
    event = Event(
        timestamp=moment, type=mapping.type, tokens=(mapping.type,), logger=mapping.logger,
        payload=payload if isinstance(payload, str) else str(payload), fields=fields,
    )  # fmt: skip
    return sanitize(event)[0]


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Seconds, milliseconds, microseconds or nanoseconds since 1970: whichever lies between the years 1973 and 5138.
        scale = 1 if abs(value) < 1e11 else 1e3 if abs(value) < 1e14 else 1e6 if abs(value) < 1e17 else 1e9
        return _EPOCH + timedelta(seconds=value / scale)
    raise ValueError(f"a time is a text or a number, not {type(value).__name__}")


def _write(upkeep: Upkeep, name: str, events: Sequence[Event], level: int) -> list[date]:
    """Writes a chunk into the folders of its days, and returns these. A file there that this import wrote before it was interrupted is
    written again, since it may have been told other names then; one that was made of it stays: it has these events."""
    received = datetime.now(UTC)
    by_day: dict[date, list[Event]] = {}
    for event in events:
        by_day.setdefault(event.timestamp.date(), []).append(event)
    for day, group in sorted(by_day.items()):
        with upkeep.events.sub(f"date={day.isoformat()}", create=True) as folder:
            if may_replace(folder, name):
                file = Parquet(level=level, promotion=upkeep.promotion).grow()
                file.write(_table(group, received))
                folder.replace(name, file.close({NAME: name.encode()}), point="import.part")
    return sorted(by_day)


def _remove_others(upkeep: Upkeep, digest: str, written: Collection[tuple[date, str]]) -> None:
    """Removes what an earlier run of this import, which was told other names, wrote into the folders of other days."""
    for day, folder in day_folders(upkeep.events):
        left = [
            Replacement([entry.name])
            for entry in folder.regular(PARQUET)
            if is_part_of(entry.name, digest) and (day, entry.name) not in written and may_replace(folder, entry.name)
        ]
        if left:
            replace(upkeep.events, folder, left, patience=PATIENCE)


def _table(events: Sequence[Event], received: datetime) -> pa.Table:
    values: dict[str, list[Any]] = {
        name: [getattr(event, name) for event in events] for name in SCHEMA.names if hasattr(events[0], name)
    }
    values["timestamp"] = [micros(event.timestamp) for event in events]
    values["tokens"] = [list(event.tokens) for event in events]
    values["fields"] = [msgspec.json.encode(event.fields).decode() for event in events]
    values["received_at"] = [micros(received)] * len(events)
    values["source"] = ["import"] * len(events)
    values["claimed_timestamp"] = [None] * len(events)
    columns = []
    for field in SCHEMA:
        kind = pa.int64() if pa.types.is_timestamp(field.type) else field.type
        columns.append(pa.array(values[field.name], kind).cast(field.type))
    return pa.Table.from_arrays(columns, schema=SCHEMA)
