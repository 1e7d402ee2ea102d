"""Which events of journal records, dead letters and lines of files meet a condition over the columns of the view `events`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import duckdb
import msgspec
import pyarrow as pa

from metlog.journal.offsets import clean_source
from metlog.journal.routing import Route
from metlog.journal.rows import micros
from metlog.journal.segment import Clock, Record
from metlog.lake.schema import UNCOMMITTED_SCHEMA, tables

__all__ = ["Matcher", "letter_meets", "line_meets"]

_ANY: Final = Clock(10**11, 10**11)
"""Outside the journal: times are corrected already, or the limits are not known."""
_RECEIPT: Final = ("received_at", "source")


class Matcher:
    """A condition that has passed `metlog.lake.sql.guard`. `close` it."""

    def __init__(self, condition: str) -> None:
        self._connection = duckdb.connect(":memory:", config={"enable_external_access": False})
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self._condition = condition

    def close(self) -> None:
        """Frees its memory."""
        self._connection.close()

    def places(self, record: Record, clock: Clock) -> list[int]:
        """Returns the numbers of a record's lines whose events meet the condition, with the columns that a query gives them."""
        record = record._replace(source=clean_source(record.source))
        table = _table(record, clock)
        if table is not None and table.num_rows == record.count:
            return sorted(self._rows(table))
        found = []
        for place, line in enumerate(record.events.split(b"\n")):  # a line that cannot be decoded: one by one
            table = _table(record._replace(lines=line + b"\n", tail=b"", count=1, members=-1), clock)
            if table is not None and self._rows(table):
                found.append(place)
        return found

    def of_line(self, line: bytes, receipt: tuple[int, str] | None = None) -> bool | None:
        """Returns whether a line is an event that meets the condition; None when it is no event. `receipt`: when it was received
        (microseconds since the epoch) and from where; the columns that say so are NULL where it is not known."""
        received_at, source = receipt or (0, "")
        table = _table(Record(0, 0, received_at, 1, clean_source(source), "", line + b"\n"), _ANY)
        if table is None:
            return None
        if receipt is None:
            unknown = [*_RECEIPT, *(("timestamp", "date") if b'"timestamp"' not in line else ())]
            for name in unknown:
                kind = UNCOMMITTED_SCHEMA.field(name).type
                table = table.set_column(table.schema.get_field_index(name), name, pa.nulls(table.num_rows, kind))
        return bool(self._rows(table))

    def _rows(self, table: pa.Table) -> set[int]:
        numbered = table.append_column("metlog_row", pa.array(range(table.num_rows), pa.int64()))
        cursor = self._connection.cursor()
        try:
            cursor.register("metlog_some", numbered)
            columns = "* REPLACE (CAST(fields AS JSON) AS fields)"
            query = f"SELECT metlog_row FROM (SELECT {columns} FROM metlog_some) WHERE "  # noqa: S608 - a name of ours
            sql = query + self._condition  # parsed by the guard
            return {row for (row,) in cursor.execute(sql).fetchall()}
        finally:
            cursor.close()


def letter_meets(line: bytes, matcher: Matcher, words: Sequence[str]) -> bool:
    """Whether a dead letter holds an event that meets the condition, or one of the words."""
    texts, receipt = [line], None
    try:
        letter = msgspec.json.decode(line)
    except msgspec.DecodeError:
        letter = None
    if isinstance(letter, dict):
        if isinstance(letter.get("text"), str):
            texts.append(letter["text"].encode())
        elif isinstance(letter.get("base64"), str):
            texts.append(msgspec.json.decode(msgspec.json.encode(letter["base64"]), type=bytes))
        receipt = _receipt(letter)
    if any(word.encode() in text for word in words for text in texts):
        return True
    return any(
        part[:1] == b"{" and bool(matcher.of_line(part, receipt)) for text in texts for part in text.split(b"\n")
    )


def line_meets(line: bytes, matcher: Matcher, words: Sequence[str]) -> bool:
    """Whether a line of a file is an event that meets the condition, or none and holds one of the words."""
    meets = matcher.of_line(line)
    return any(word.encode() in line for word in words) if meets is None else meets


def _receipt(letter: dict[str, Any]) -> tuple[int, str] | None:
    try:
        return micros(datetime.fromisoformat(letter["time"])), str(letter["source"])
    except (KeyError, TypeError, ValueError):
        return None


def _table(record: Record, clock: Clock) -> pa.Table | None:
    parts = list(tables([record], clock, Route(), bad=[])) if record.lines.strip() else []
    return pa.concat_tables(parts) if parts else None
