"""What there is among the events that a search finds: how many by time, service, type and severity, and the fields that occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from metlog.lake.interface import Cancel, Engine
from metlog.web.conditions import Search, text_of
from metlog.web.histogram import Histogram, Steps, histogram, steps
from metlog.web.members import askable, members
from metlog.web.times import Times
from metlog.web.words import SEVERITIES, service, shown_type

__all__ = ["SAMPLE", "Count", "Facets", "FieldFacet", "counted", "sampled"]

SAMPLE: Final = 2000
"""Newest events whose tokens and fields are looked at; a quarter of it where finding them reads the fields of all others too."""
_LARGE: Final = 16_384
"""Bytes of `fields` above which an event of the sample is left out: the sample is at most 32 MB."""
_NAMES: Final = 30
"""Fields that are shown."""
_NAMED: Final = 10
"""Values that a facet of a column shows."""
_SUGGESTED: Final = 100
_VALUES: Final = 4
_SHORT: Final = 80
"""Characters of a value that can be chosen by a click."""
_LARGEST: Final = 1e300
"""JSON has whole numbers beyond every double."""
_ROOM: Final = 5000
"""Characters that the values of fields take together, so that a page stays small."""

_CELLS: Final = """
WITH cells AS (
    SELECT {bar} AS bar, logger, type, severity, count(*) AS events, sum(weight) AS weight, max(timestamp, {want}) AS newest
    FROM events WHERE {where} GROUP BY ALL
)
SELECT 'bar' AS kind, bar, '' AS name, severity, CAST(sum(events) AS BIGINT) AS events, sum(weight) AS weight, NULL AS newest
FROM cells GROUP BY bar, severity
UNION ALL
FROM (SELECT 'logger', NULL, logger, NULL, CAST(sum(events) AS BIGINT) AS events, NULL, NULL FROM cells GROUP BY logger ORDER BY events DESC, logger LIMIT {most})
UNION ALL
FROM (SELECT 'type', NULL, type, NULL, CAST(sum(events) AS BIGINT) AS events, NULL, NULL FROM cells GROUP BY type ORDER BY events DESC, type LIMIT {most})
UNION ALL
SELECT 'newest', NULL, '', NULL, NULL, NULL, list_slice(list_reverse_sort(flatten(list(newest))), 1, {want}) FROM cells
"""


@dataclass(frozen=True)
class Count:
    """A value with the number of its events; `wire` is what it is called in events, `name` what people call it."""

    name: str
    events: int
    wire: str = ""


@dataclass
class FieldFacet:
    """A field: how many events of the sample have it, JSON's names of its types, and its most frequent values."""

    name: str
    events: int
    types: list[str]
    values: list[Count]
    low: float | None = None
    high: float | None = None
    asked: bool = True
    """Whether a condition can name it."""


@dataclass
class Facets:
    """Counts over all that is found; tokens and fields over the newest `sampled` of it."""

    events: int
    weight: float
    newest: list[datetime]
    """Times of the newest events, as many as were asked for."""
    drawn: Histogram
    services: list[Count]
    types: list[Count]
    severities: list[Count]
    sampled: int = 0
    tokens: list[Count] = field(default_factory=list)
    fields: list[FieldFacet] = field(default_factory=list)
    ms: float = 0.0
    enough: int = SAMPLE
    """Events of a sample."""
    recent: datetime | None = None
    """A time since which there are enough events for a sample."""

    @property
    def known(self) -> dict[str, list[str]]:
        """Names to choose from, by the parameter of the search."""
        return {
            "logger": [count.name for count in self.services],
            "type": [count.name for count in self.types],
            "token": [count.name for count in self.tokens],
            "field": [found.name for found in self.fields if found.asked],
        }

    @property
    def shown(self) -> list[tuple[str, str, list[Count]]]:
        """Facets of columns: a heading, the parameter, the values."""
        lists = (
            ("Service", "logger", self.services), ("Type", "type", self.types), ("Severity", "severities", self.severities),
            ("Token", "token", self.tokens),
        )  # fmt: skip
        return [(heading, key, counts[:_NAMED]) for heading, key, counts in lists if counts]


def counted(
    lake: Engine, search: Search, times: Times, want: int, *, loggers: Sequence[str] | None, cancel: Cancel
) -> Facets:
    """Counts of all that is found, in one pass, with the times of the newest `want` events. Raises QueryError."""
    by = steps(times)
    conditions, values = search.where()
    sql = _CELLS.format(bar=by.sql, where=" AND ".join(conditions), want=int(want), most=_SUGGESTED)
    found = lake.query(sql, {**values, **by.values}, loggers=loggers, cancel=cancel)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in found.dicts():
        rows.setdefault(row["kind"], []).append(row)
    bars = rows.get("bar", [])
    severities: Counter[int] = Counter()
    for row in bars:
        severities[row["severity"]] += row["events"]
    newest = next((row["newest"] for row in rows.get("newest", [])), None) or []
    made = Facets(
        sum(severities.values()), sum(row["weight"] for row in bars), newest, histogram(_stacked(bars), by, times),
        [Count(service(row["name"]), row["events"], row["name"]) for row in rows.get("logger", [])],
        [Count(shown_type(row["name"]), row["events"], row["name"]) for row in rows.get("type", [])],
        [Count(SEVERITIES[number], severities[number], str(number)) for number in sorted(severities)],
        ms=found.ms,
    )  # fmt: skip
    made.enough = SAMPLE // 4 if search.text or search.fields else SAMPLE
    made.recent = _recent(bars, by, made.enough)
    return made


def _stacked(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a bar, its events by severity side by side."""
    bars: dict[int, dict[str, Any]] = {}
    for row in rows:
        bar = bars.setdefault(row["bar"], {"bar": row["bar"], "events": 0, "error": 0, "warning": 0, "debug": 0})
        bar["events"] += row["events"]
        part = "error" if row["severity"] <= 3 else {4: "warning", 7: "debug"}.get(row["severity"], "")
        if part:
            bar[part] += row["events"]
    return list(bars.values())


def _recent(rows: Iterable[Mapping[str, Any]], by: Steps, enough: int) -> datetime | None:
    """The begin of the first of the last bars that hold a sample together."""
    events: Counter[int] = Counter()
    for row in rows:
        events[row["bar"]] += row["events"]
    total, first = 0, None
    for bar in sorted(events, reverse=True):
        total, first = total + events[bar], bar
        if total >= enough:
            break
    return None if first is None else max(by.moment(first), by.begin)


def sampled(facets: Facets, lake: Engine, search: Search, *, loggers: Sequence[str] | None, cancel: Cancel) -> None:
    """Adds the tokens and fields of the newest events. Raises QueryError."""
    if facets.recent is None:
        return
    conditions, values = search.where()
    sql = (
        f"SELECT tokens, CASE WHEN strlen(CAST(fields AS VARCHAR)) <= {_LARGE} THEN fields END AS fields FROM events "  # noqa: S608 - conditions of ours
        f"WHERE {' AND '.join(conditions)} AND timestamp >= $recent ORDER BY timestamp DESC LIMIT {facets.enough}"
    )
    for since in _spans(facets):
        found = lake.query(sql, {**values, "recent": since}, loggers=loggers, cancel=cancel)
        facets.ms += found.ms
        if len(found.rows) >= facets.enough:
            break
    tokens: Counter[str] = Counter()
    fields = _Fields()
    for row_tokens, text in found.rows:
        tokens.update(set(row_tokens))
        if text is not None:
            fields.add(msgspec.json.decode(text))
    facets.sampled = len(found.rows)
    facets.tokens = [Count(name, events, name) for name, events in tokens.most_common(_SUGGESTED)]
    facets.fields = fields.facets()


def _spans(facets: Facets) -> list[datetime]:
    """Times since which to look for a sample: where the newest events are as dense as the rest, a short one will do."""
    assert facets.recent is not None
    times = facets.newest
    if len(times) < 10:
        return [facets.recent]
    near = times[0] - (times[0] - times[-1]) * (2 * facets.enough / len(times))
    return [near, facets.recent] if near > facets.recent else [facets.recent]


class _Fields:
    """Counts the members of objects."""

    def __init__(self) -> None:
        self._events: Counter[str] = Counter()
        self._types: dict[str, Counter[str]] = {}
        self._values: dict[str, Counter[str]] = {}
        self._ranges: dict[str, tuple[float, float]] = {}

    def add(self, fields: Any) -> None:
        if not isinstance(fields, Mapping):
            return
        for name, value, _ in members(fields):
            if len(name) > _SHORT or (name not in self._events and len(self._events) >= 20 * _NAMES):
                continue
            self._events[name] += 1
            self._types.setdefault(name, Counter())[_type(value)] += 1
            if isinstance(value, Mapping):
                continue
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST:
                low, high = self._ranges.get(name, (value, value))
                self._ranges[name] = (min(low, value), max(high, value))
            text = text_of(value)
            values = self._values.setdefault(name, Counter())
            if value is not None and len(text) <= _SHORT:
                values[text] += 1

    def facets(self) -> list[FieldFacet]:
        found, room = [], _ROOM
        for name, events in sorted(self._events.items(), key=lambda item: (-item[1], item[0]))[:_NAMES]:
            types = [kind for kind, _ in self._types[name].most_common()]
            values = self._values.get(name, Counter())
            frequent = [Count(text, count, text) for text, count in values.most_common(_VALUES) if askable(name, text)]
            if len(values) > 20 and frequent and frequent[0].events == 1:  # all different: no value is worth a click
                frequent = []
            room -= sum(2 * len(count.name) + len(name) for count in frequent)
            if room < 0:
                frequent = []
            low, high = self._ranges.get(name, (None, None))
            found.append(FieldFacet(name, events, types, frequent, low, high, askable(name)))
        return found


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    return {str: "text", int: "number", float: "number", list: "list"}.get(type(value), "object")
