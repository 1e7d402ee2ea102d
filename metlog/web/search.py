"""Search of events with pages that stay as they are, and one event with those around it in its stream."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from metlog.journal.rows import micros
from metlog.lake.interface import Cancel, Engine, Result
from metlog.web.conditions import Search
from metlog.web.errors import Refused

__all__ = ["AROUND", "Around", "Page", "around", "page", "total"]

AROUND: Final = 20
"""Events shown before and after one."""

_COLUMNS: Final = "timestamp, type, tokens, logger, severity, payload, fields, weight, pid, hostname, stream, seq"
_ALL: Final = f"{_COLUMNS}, env_version, received_at, source, claimed_timestamp"
_PARTS: Final = 64
_LEAST: Final = timedelta(minutes=5)
_GROWS: Final = 4
"""The newest events are looked for in the last part of a span, then in one before it that is so many times as long, and so on."""
_SOME: Final = 128
"""Times that a query names one by one."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Place(Struct, array_like=True):
    """Where a page begins. Nothing that was received after `asof` is in any page, so that pages stay as they are."""

    asof: int
    total: int
    """-1: not counted."""
    timestamp: int
    stream: str
    seq: int
    skip: int
    """Events with this very timestamp, stream and seq that were shown before."""


@dataclass
class Page:
    """Events, newest first; `after` asks for the next page, empty on the last one."""

    events: list[dict[str, Any]]
    total: int | None
    """Of all pages; None where they were not counted."""
    after: str
    ms: float


def page(
    lake: Engine, search: Search, size: int, *, loggers: Sequence[str] | None, cancel: Cancel, count: bool = True
) -> Page:
    """One page of a search. count: the first one says how many events are found on all pages, which takes a look at all of them; the
    following ones say it again.

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
    asking = _Asking(lake, where, values, want, loggers, cancel)
    # First the times alone, then whole rows of these: wide columns are read for one page only.
    found: int | None
    times: Sequence[datetime]
    if place is None and count:
        found, times = asking.counted()
    else:
        found, times = (place.total if place is not None and place.total >= 0 else None), asking.newest(search, place)
    if not times:
        return Page([], found if place is not None or count else 0, "", asking.ms)
    rows = asking.whole(times)
    shown = rows[skip : skip + size]
    after = _after(rows, shown, skip, size, asof, -1 if found is None else found, place)
    return Page([_event(row) for row in shown], found, after, asking.ms)


def total(lake: Engine, search: Search, *, loggers: Sequence[str] | None, cancel: Cancel) -> int:
    """How many events a search finds. Raises QueryError."""
    conditions, values = search.where()
    sql = f"SELECT count(*) FROM events WHERE {' AND '.join(conditions)}"  # noqa: S608 - conditions of ours
    return int(lake.query(sql, values, loggers=loggers, cancel=cancel).rows[0][0])


@dataclass
class _Asking:
    """What a page asks for: `want` events that have the conditions `where`."""

    lake: Engine
    where: str
    values: dict[str, Any]
    want: int
    loggers: Sequence[str] | None
    cancel: Cancel
    ms: float = 0.0

    def _ask(self, sql: str, **more: Any) -> Result:
        found = self.lake.query(sql, {**self.values, **more}, loggers=self.loggers, cancel=self.cancel)
        self.ms += found.ms
        return found

    def counted(self) -> tuple[int, Sequence[datetime]]:
        """The number of all, and the latest times."""
        if self.lake.slow:  # max() of several is DuckDB's own
            total = self._ask(f"SELECT count(*) FROM events WHERE {self.where}").rows[0][0]  # noqa: S608 - conditions of ours
            return total, self._latest("true")
        total, times = self._ask(f"SELECT count(*), max(timestamp, {self.want}) FROM events WHERE {self.where}").rows[0]  # noqa: S608
        return total, times or []

    def newest(self, search: Search, place: _Place | None) -> Sequence[datetime]:
        """The latest times, without a look at older events than it needs."""
        if self.lake.slow or search.since is None or search.until is None:
            return self._latest("true")
        begin, end = search.since, search.until
        if place is not None:
            end = min(end, _moment(place.timestamp) + timedelta(microseconds=1))
        length, times = max((end - begin) / _PARTS, _LEAST), list[datetime]()
        while begin < end and len(times) < self.want:
            start = max(begin, end - length)
            times += self._latest("timestamp >= $start AND timestamp < $end", start=start, end=end)
            end, length = start, length * _GROWS
        return times[: self.want]

    def _latest(self, within: str, **more: Any) -> list[datetime]:
        sql = f"SELECT timestamp FROM events WHERE {self.where} AND {within} ORDER BY timestamp DESC LIMIT {self.want}"  # noqa: S608
        return [row[0] for row in self._ask(sql, **more).rows]

    def whole(self, times: Sequence[datetime]) -> list[dict[str, Any]]:
        """The events of the latest times."""
        more: dict[str, Any] = {"oldest": times[-1]}
        within = "timestamp >= $oldest"
        if not self.lake.slow and len(times) <= _SOME:  # between two of these times nothing needs to be looked at again
            more |= {f"time{number}": time for number, time in enumerate(dict.fromkeys(times))}
            within += f" AND timestamp IN ({', '.join(f'${name}' for name in more if name != 'oldest')})"
        return self._ask(
            f"SELECT {_COLUMNS} FROM events WHERE {self.where} AND {within} ORDER BY timestamp DESC, stream DESC,"  # noqa: S608
            f" seq DESC, md5(payload || CAST(fields AS VARCHAR) || type) LIMIT {self.want}",
            **more,
        ).dicts()


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
