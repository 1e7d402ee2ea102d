"""The time control: which span of time a page shows, in which zone, and how often it is asked for again. All of it stands in the URL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request

from metlog.errors import ConfigError
from metlog.reports.times import moment, zone
from metlog.web.errors import Refused
from metlog.web.forms import query_of

__all__ = ["KEYS", "PRESETS", "REFRESH", "Times", "in_url", "in_zone", "shown_times", "times_of"]

PRESETS: Final = ("15m", "1h", "6h", "24h", "7d", "30d", "90d")
"""Spans of one click."""
REFRESH: Final = {"": 0, "10s": 10, "1m": 60, "5m": 300}
"""How often a page may be asked for again, in seconds."""
KEYS: Final = ("since", "until", "tz", "refresh")
"""Parameters of the URL that are the time control's."""
_PLACE: Final = frozenset({"after", "_since"})
"""Parameters that belong to one span of time: a place in a result, and the time of an answer."""

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Times:
    """A span of time with the texts that it was asked for by, and the zone in which times are shown."""

    since: str
    until: str
    tz: str
    refresh: str
    begin: datetime
    end: datetime
    zone: ZoneInfo
    path: str = ""
    given: tuple[tuple[str, str], ...] = ()
    """Parameters of the page's URL that are not the time control's."""
    said: frozenset[str] = frozenset()
    """Which of `KEYS` the URL has."""

    @classmethod
    def of(cls, since: str, until: str = "now", tz: str = "UTC") -> Times:
        """A span without a request. Raises ConfigError."""
        now, place = datetime.now(UTC), zone(tz)
        return cls(since, until, tz, "", moment(since, place, "since", now), moment(until, place, "until", now), place)

    @property
    def seconds(self) -> int:
        """Seconds between two looks, 0 for none."""
        return REFRESH[self.refresh]

    @property
    def seconds_long(self) -> float:
        """The length of the span in seconds."""
        return (self.end - self.begin).total_seconds()

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What a link to another page takes along: the span and the zone, as far as the URL says them."""
        return [(key, str(getattr(self, key))) for key in ("since", "until", "tz") if key in self.said]

    @property
    def query(self) -> str:
        """`kept`, for a link: empty, or beginning with `?`."""
        return _address("", self.kept)

    def here(self, **changed: str) -> str:
        """The address of this page with some of `KEYS` changed; one that becomes empty is left out."""
        own = {key: str(getattr(self, key)) for key in KEYS if key in self.said} | changed
        return _address(self.path, [*self.given, *((key, own[key]) for key in KEYS if own.get(key))])

    def link(self, path: str, pairs: Pairs = ()) -> str:
        """The address of another page for the same span and zone; `pairs` come first and may say another span."""
        first = [(key, value) for key, value in pairs if value]
        names = {key for key, _ in first}
        return _address(path, [*first, *((key, value) for key, value in self.kept if key not in names)])

    def without(self, key: str, value: str) -> str:
        """The address of this page with one of its other parameters left out."""
        own = [(name, str(getattr(self, name))) for name in KEYS if name in self.said]
        return _address(self.path, [*(pair for pair in self.given if pair != (key, value)), *own])

    @property
    def permanent(self) -> str:
        """The address of this page that shows the same span tomorrow: with absolute times, and not asked for again."""
        return self.here(since=in_url(self.begin), until=in_url(self.end), refresh="")

    @property
    def absolute(self) -> list[tuple[str, str]]:
        """The span with absolute times, for links to what a page shows."""
        return [("since", in_url(self.begin)), ("until", in_url(self.end))]

    @property
    def words(self) -> str:
        """The span as people write it, both ends with day and time, in the zone."""
        begin, end = self.begin.astimezone(self.zone), self.end.astimezone(self.zone)
        year = "" if begin.year == end.year == datetime.now(self.zone).year else " %Y"
        last = "%H:%M" if begin.date() == end.date() else f"%-d %b{year} %H:%M"
        return f"{begin:%-d %b{year} %H:%M} – {end.strftime(last)}"


def in_zone(value: datetime, tz: ZoneInfo | None) -> datetime:
    """A time as it is shown in the zone: one without a zone as it is, and one in UTC that an offset leads out of the calendar."""
    if tz is None or value.tzinfo is None:
        return value
    try:
        return value.astimezone(tz)
    except OverflowError:
        return value


def in_url(value: datetime) -> str:
    """A time as links have it: RFC 3339 in UTC, with no more digits than it needs."""
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def times_of(request: Request, since: str = "24h", until: str = "now") -> Times:
    """The time control's state; `since` and `until` are this page's where the URL says nothing. Templates show what was read last.

    Raises Refused 400 for a time, a zone or a refresh that is none.
    """
    given = query_of(request)
    texts = {"since": since, "until": until, "tz": "UTC", "refresh": ""}
    texts |= {key: text for key in KEYS if (text := given.get(key, "").strip())}
    if "since" not in given and (span := given.get("span", "").strip()):  # the overview's old addresses
        texts["since"] = span
    if texts["refresh"] not in REFRESH:
        raise Refused(400, f"refresh = {texts['refresh']!r}: wants {', '.join(filter(None, REFRESH))}, or nothing")
    now = datetime.now(UTC)
    try:
        tz = zone(texts["tz"])
        begin, end = (moment(texts[key], tz, key, now) for key in ("since", "until"))
    except ConfigError as error:
        raise Refused(400, str(error)) from None
    if begin >= end:
        raise Refused(400, f"since = {texts['since']!r}: not before until = {texts['until']!r}")
    made = _made(request, texts, begin, end, tz)
    request.state.times = made
    return made


def shown_times(request: Request) -> Times:
    """What the page's handler has read, or would have: for templates, also of a page that says what is wrong with it."""
    found = getattr(request.state, "times", None)
    if found is not None:
        return cast("Times", found)
    try:
        return times_of(request)
    except Refused:
        plain = Times.of("24h")
        texts = {"since": plain.since, "until": plain.until, "tz": plain.tz, "refresh": ""}
        return _made(request, texts, plain.begin, plain.end, plain.zone)


def _made(request: Request, texts: dict[str, str], begin: datetime, end: datetime, tz: ZoneInfo) -> Times:
    query: Any = request.query_params
    given = tuple(
        (key, value.strip())
        for key, value in query.multi_items()
        if value.strip() and key not in {*KEYS, *_PLACE, "span", "csrf"}
    )
    said = frozenset(key for key in KEYS if query.get(key, "").strip()) | ({"since"} if query.get("span") else set())
    return Times(
        texts["since"], texts["until"], tz.key, texts["refresh"], begin, end, tz, request.url.path, given, said
    )


def _address(path: str, pairs: list[tuple[str, str]]) -> str:
    return f"{path}?{urlencode(pairs, safe=':/')}" if pairs else path
