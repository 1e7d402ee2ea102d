"""Search of events with pages that stay as they are, and one event with those around it in its stream."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

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
_ORDER: Final = "timestamp DESC, stream DESC, seq DESC, md5(payload || CAST(fields AS VARCHAR) || type)"
_FROM: Final = ("timestamp <= $at", "(timestamp < $at OR stream < $stream OR (stream = $stream AND seq <= $seq))")
"""From a place on: that with its timestamp, stream and seq, and what comes after it."""
_AFTER: Final = ("timestamp <= $at", "(timestamp < $at OR stream < $stream OR (stream = $stream AND seq < $seq))")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


_Moment = Annotated[int, Meta(ge=-2_208_988_800_000_000, lt=7_289_654_400_000_000)]
"""Microseconds since 1970, of the years 1900 to 2200."""
_Long = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Place(Struct, array_like=True):
    """Where a page begins. Nothing that was received after `asof` is in any page, so that pages stay as they are."""

    asof: _Moment
    total: Annotated[int, Meta(ge=-1, lt=2**53)]
    """-1: not counted."""
    timestamp: _Moment
    stream: str
    seq: _Long
    skip: Annotated[int, Meta(ge=0, lt=2**53)]
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
    asking = _Asking(lake, conditions, values, size + 1, place, loggers, cancel)
    # First the times alone, then whole rows of these: wide columns are read for one page only.
    found: int | None
    times: Sequence[datetime]
    if place is None and count:
        found, times = asking.counted()
    else:
        found, times = (place.total if place is not None and place.total >= 0 else None), asking.newest(search)
    if not times:
        return Page([], found if count else 0, "", asking.ms)
    rows = asking.whole(times)
    after = _after(rows[:size], asof, -1 if found is None else found, place) if len(rows) > size else ""
    return Page([_event(row) for row in rows[:size]], found, after, asking.ms)


def total(lake: Engine, search: Search, *, loggers: Sequence[str] | None, cancel: Cancel) -> int:
    """How many events a search finds. Raises QueryError."""
    conditions, values = search.where()
    sql = f"SELECT count(*) FROM events WHERE {' AND '.join(conditions)}"  # noqa: S608 - conditions of ours
    return int(lake.query(sql, values, loggers=loggers, cancel=cancel).rows[0][0])


@dataclass
class _Asking:
    """What a page asks for: `want` events that have the conditions, from a place on."""

    lake: Engine
    conditions: Sequence[str]
    values: dict[str, Any]
    want: int
    place: _Place | None
    loggers: Sequence[str] | None
    cancel: Cancel
    ms: float = 0.0

    def _ask(self, sql: str, **more: Any) -> Result:
        found = self.lake.query(sql, {**self.values, **more}, loggers=self.loggers, cancel=self.cancel)
        self.ms += found.ms
        return found

    def _where(self, *more: str) -> str:
        return " AND ".join([*self.conditions, *more])

    def counted(self) -> tuple[int, Sequence[datetime]]:
        """The number of all, and the latest times."""
        if self.lake.slow:  # max() of several is DuckDB's own
            total = self._ask(f"SELECT count(*) FROM events WHERE {self._where()}").rows[0][0]  # noqa: S608 - conditions of ours
            return total, self._latest()
        sql = f"SELECT count(*), max(timestamp, {self.want}) FROM events WHERE {self._where()}"  # noqa: S608
        total, times = self._ask(sql).rows[0]
        return total, times or []

    def newest(self, search: Search) -> Sequence[datetime]:
        """The latest times, without a look at older events than it needs. Behind a place: its own time, and those of the events that come
        after all with the place's timestamp, stream and seq."""
        if self.place is None:
            return self._newest(search, None)
        at = _moment(self.place.timestamp)
        return [at, *self._newest(search, at)]

    def _newest(self, search: Search, at: datetime | None) -> Sequence[datetime]:
        if self.lake.slow or search.since is None or search.until is None:
            return self._latest()
        begin, end = search.since, search.until
        if at is not None:
            end = min(end, at + timedelta(microseconds=1))
        length, times = max((end - begin) / _PARTS, _LEAST), list[datetime]()
        while begin < end and len(times) < self.want:
            start = max(begin, end - length)
            times += self._latest("timestamp >= $start AND timestamp < $end", start=start, end=end)
            end, length = start, length * _GROWS
        return times[: self.want]

    def _latest(self, *within: str, **more: Any) -> list[datetime]:
        if self.place is not None:
            within, more = (*within, *_AFTER), {**more, **self._key(self.place)}
        sql = f"SELECT timestamp FROM events WHERE {self._where(*within)} ORDER BY timestamp DESC LIMIT {self.want}"  # noqa: S608
        return [row[0] for row in self._ask(sql, **more).rows]

    def whole(self, times: Sequence[datetime]) -> list[dict[str, Any]]:
        """The events of the latest times."""
        more: dict[str, Any] = {"oldest": times[-1]}
        within = ["timestamp >= $oldest"]
        if not self.lake.slow and len(times) <= _SOME:  # between two of these times nothing needs to be looked at again
            more |= {f"time{number}": time for number, time in enumerate(dict.fromkeys(times))}
            within.append(f"timestamp IN ({', '.join(f'${name}' for name in more if name != 'oldest')})")
        if self.place is None:
            sql = f"SELECT {_COLUMNS} FROM events WHERE {self._where(*within)} ORDER BY {_ORDER} LIMIT {self.want}"  # noqa: S608
            return self._ask(sql, **more).dicts()
        more |= self._key(self.place) | {"skip": self.place.skip}
        inner = f"SELECT {_COLUMNS}, row_number() OVER (ORDER BY {_ORDER}) AS place FROM events WHERE {self._where(*within, *_FROM)}"  # noqa: S608
        sql = (
            f"SELECT {_COLUMNS}, place FROM ({inner}) AS numbered WHERE place > $skip ORDER BY place LIMIT {self.want}"  # noqa: S608
        )
        return [{name: row[name] for name in row if name != "place"} for row in self._ask(sql, **more).dicts()]

    @staticmethod
    def _key(place: _Place) -> dict[str, Any]:
        return {"at": _moment(place.timestamp), "stream": place.stream, "seq": place.seq}


def _after(shown: list[dict[str, Any]], asof: int, total: int, place: _Place | None) -> str:
    """The place behind the events of a page."""
    last = shown[-1]
    key = (last["timestamp"], last["stream"], last["seq"])
    same = sum((row["timestamp"], row["stream"], row["seq"]) == key for row in shown)
    if place is not None and (_moment(place.timestamp), place.stream, place.seq) == key:
        same += place.skip
    following = _Place(asof, total, micros(last["timestamp"]), last["stream"], last["seq"], same)
    return base64.urlsafe_b64encode(msgspec.json.encode(following)).decode().rstrip("=")


def _decode(text: str) -> _Place | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Place)
    except ValueError:  # also what base64 and msgspec raise
        raise Refused(400, "after: this is no place in a search; begin at its first page") from None


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
