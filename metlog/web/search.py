"""Search of events with pages that stay as they are, and one event with those around it in its stream."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from metlog.journal.rows import micros
from metlog.lake.interface import Cancel, Engine
from metlog.web.conditions import Search
from metlog.web.errors import Refused

__all__ = ["AROUND", "Around", "Page", "around", "page"]

AROUND: Final = 20
"""Events shown before and after one."""

_COLUMNS: Final = "timestamp, type, tokens, logger, severity, payload, fields, weight, pid, hostname, stream, seq"
_ALL: Final = f"{_COLUMNS}, env_version, received_at, source, claimed_timestamp"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Place(Struct, array_like=True):
    """Where a page begins. Nothing that was received after `asof` is in any page, so that pages stay as they are."""

    asof: int
    total: int
    timestamp: int
    stream: str
    seq: int
    skip: int
    """Events with this very timestamp, stream and seq that were shown before."""


@dataclass
class Page:
    """Events, newest first; `after` asks for the next page, empty on the last one."""

    events: list[dict[str, Any]]
    total: int
    after: str
    ms: float


def page(
    lake: Engine,
    search: Search,
    size: int,
    *,
    loggers: Sequence[str] | None,
    cancel: Cancel,
    known: tuple[int, Sequence[datetime]] | None = None,
) -> Page:
    """One page of a search. known: for the first page, the number of all events that are found, and the times of the newest `size` + 1.

    Raises QueryError, or Refused 400 for an `after` that is none.
    """
    place = _decode(search.after)
    conditions, values = search.where()
    asof = place.asof if place else micros(datetime.now(UTC))
    conditions.append("received_at <= $asof")
    values["asof"] = _moment(asof)
    if place is not None:
        values |= {"at": _moment(place.timestamp), "stream": place.stream, "seq": place.seq}
        conditions.append("timestamp <= $at")
        conditions.append("(timestamp < $at OR stream < $stream OR (stream = $stream AND seq <= $seq))")
    where = " AND ".join(conditions)
    skip = place.skip if place is not None else 0
    want = skip + size + 1
    # First the times alone, and the number of all on the first page, in one pass; then whole rows of the time that these
    # span: wide columns are read for one page only.
    if place is None:
        sql = f"SELECT count(*), max(timestamp, {want}) FROM events WHERE {where}"  # noqa: S608 - conditions of ours
    else:
        latest = f"SELECT timestamp FROM events WHERE {where} ORDER BY timestamp DESC LIMIT {want}"  # noqa: S608
        sql = f"SELECT NULL, list(timestamp ORDER BY timestamp DESC) FROM ({latest}) AS page"  # noqa: S608
    times: Sequence[datetime]
    if known is not None and place is None:
        counted, times, spent = known[0], known[1], 0.0
    elif lake.slow:  # lists and max() of several are DuckDB's own
        counted, times, spent = _keys(lake, where, want, values, loggers, cancel, count=place is None)
    else:
        keys = lake.query(sql, values, loggers=loggers, cancel=cancel)
        spent = keys.ms
        counted, times = keys.rows[0]
    total = counted if place is None else place.total
    if not times:
        return Page([], total, "", spent)
    values["oldest"] = times[-1]
    found = lake.query(
        f"SELECT {_COLUMNS} FROM events WHERE {where} AND timestamp >= $oldest ORDER BY timestamp DESC, stream DESC,"  # noqa: S608
        f" seq DESC, md5(payload || CAST(fields AS VARCHAR) || type) LIMIT {want}",
        values, loggers=loggers, cancel=cancel,
    )  # fmt: skip
    rows = found.dicts()
    shown = rows[skip : skip + size]
    after = _after(rows, shown, skip, size, asof, total, place)
    return Page([_event(row) for row in shown], total, after, spent + found.ms)


def _keys(
    lake: Engine,
    where: str,
    want: int,
    values: Mapping[str, Any],
    loggers: Sequence[str] | None,
    cancel: Cancel,
    *,
    count: bool,
) -> tuple[int, list[datetime], float]:
    """The number of events that are found (on the first page), and the latest times, in SQL that every engine has."""
    spent, counted = 0.0, 0
    if count:
        found = lake.query(f"SELECT count(*) FROM events WHERE {where}", values, loggers=loggers, cancel=cancel)  # noqa: S608
        counted, spent = found.rows[0][0], found.ms
    latest = f"SELECT timestamp FROM events WHERE {where} ORDER BY timestamp DESC LIMIT {want}"  # noqa: S608 - conditions of ours
    times = lake.query(latest, values, loggers=loggers, cancel=cancel)
    return counted, [row[0] for row in times.rows], spent + times.ms


def _after(
    rows: list[dict[str, Any]],
    shown: list[dict[str, Any]],
    skip: int,
    size: int,
    asof: int,
    total: int,
    place: _Place | None,
) -> str:
    if len(rows) <= skip + size:
        return ""
    last = shown[-1]
    key = (last["timestamp"], last["stream"], last["seq"])
    same = sum((row["timestamp"], row["stream"], row["seq"]) == key for row in rows[: skip + size])
    following = _Place(asof, total, micros(last["timestamp"]), last["stream"], last["seq"], same)
    return base64.urlsafe_b64encode(msgspec.json.encode(following)).decode().rstrip("=")


def _decode(text: str) -> _Place | None:
    if not text:
        return None
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Place)
        _moment(place.asof)
        _moment(place.timestamp)
    except (ValueError, OverflowError):
        raise Refused(400, "after: this is no place in a search; begin at its first page") from None
    if place.skip < 0 or place.skip > 1_000_000:
        raise Refused(400, "after: this is no place in a search; begin at its first page")
    return place


def _moment(micro: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micro)


def _event(row: dict[str, Any]) -> dict[str, Any]:
    """A row with `fields` as an object."""
    row["fields"] = msgspec.json.decode(row["fields"])
    return row


@dataclass
class Around:
    """One event with those before and after it; `copies` is how often it was received."""

    event: dict[str, Any]
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    copies: int


def around(
    lake: Engine, stream: str, seq: int, at: datetime | None, *, loggers: Sequence[str] | None, cancel: Cancel
) -> Around | None:
    """One event by stream and seq, None when there is none. `at`, its timestamp, spares reading all days."""
    values: dict[str, Any] = {"stream": stream, "low": seq - AROUND, "high": seq + AROUND}
    where = "stream = $stream AND seq BETWEEN $low AND $high"
    if at is not None:  # a stream may have rested for long, so the day before and after are looked at too
        where += " AND timestamp BETWEEN $since AND $until"
        values |= {"since": at - timedelta(days=1), "until": at + timedelta(days=1)}
    found = lake.query(
        f"SELECT {_ALL} FROM events WHERE {where} ORDER BY seq, received_at LIMIT 1000",  # noqa: S608 - conditions of ours
        values, loggers=loggers, cancel=cancel,
    )  # fmt: skip
    copies: dict[int, list[dict[str, Any]]] = {}
    for row in found.dicts():
        copies.setdefault(row["seq"], []).append(row)
    if seq not in copies:
        return None
    first = {number: _event(rows[0]) for number, rows in copies.items()}
    return Around(
        first[seq],
        [event for number, event in first.items() if number < seq],
        [event for number, event in first.items() if number > seq],
        len(copies[seq]),
    )
