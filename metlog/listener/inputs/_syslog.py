"""Syslog messages to events: RFC 5424, and RFC 3164 as it is met in practice."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import msgspec

from metlog.event import Event

__all__ = ["FACILITIES", "SyslogError", "parse"]

FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert",
    "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
"""Names of the facilities 0 to 23 (RFC 5424, table 1, in the short form that syslog.conf uses)."""

_PRI: Final = re.compile(r"<(\d{1,3})>")
_HEADER: Final = re.compile(r"1 (\S+) (\S{1,255}) (\S{1,255}) (\S{1,255}) (\S{1,255}) ?")
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2}) ")
_BSD: Final = re.compile(
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) ([ \d]\d) (\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))? "
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TAG: Final = re.compile(r"([^\s:\[\]]{1,128})(?:\[([^\]\s]{1,128})\])?:(?: |$)")
_NAME: Final = re.compile(r'[^\s="\]]{1,32}')
_ESCAPED: Final = re.compile(r'\\(["\\\]])')
_CEE: Final = "@cee:"
_BOM: Final = "\ufeff"
_MOST_PARAMS: Final = 1000


class SyslogError(ValueError):
    """The bytes are no syslog message. Its text is the reason, one of a bounded number before the first colon."""


def parse(data: bytes, received: datetime, zone: tzinfo | None = None, type: str = "syslog") -> Event:
    """Returns the event of one message.

    `received` (aware) gives what the message leaves out: its year (RFC 3164), or its whole time. `zone` is that of times without an
    offset, the machine's own when None. Bytes that are no UTF-8 become U+FFFD.

    Raises `SyslogError` when the message has no priority (RFC 5424, section 6.2.1).
    """
    text = data.rstrip(b"\r\n\0").decode("utf-8", "replace")
    found = _PRI.match(text)
    if found is None or int(found[1]) > 191:
        raise SyslogError("not syslog: wants <PRI> from <0> to <191> first")
    facility, severity = divmod(int(found[1]), 8)
    event = Event(timestamp=received, type=type, severity=severity, fields={"facility": FACILITIES[facility]})
    rest = text[found.end() :]
    header = _HEADER.match(rest)
    if header is not None:
        _rfc5424(event, header, rest[header.end() :], received)
    else:
        _rfc3164(event, rest, received, zone)
    event.tokens = tuple(token for token in (type, FACILITIES[facility], event.logger) if token)
    return event


def _rfc5424(event: Event, header: re.Match[str], rest: str, received: datetime) -> None:
    stamp, hostname, app, process, message_id = ("" if part == "-" else part for part in header.groups())
    event.timestamp = _iso(stamp) or received
    event.hostname, event.logger = hostname, app
    _process(event, process)
    if message_id:
        event.fields["msgid"] = message_id
    rest = _structured(event, rest).removeprefix(" ").removeprefix(_BOM)
    _message(event, rest.removeprefix(" "))  # rsyslog hands on the space that RFC 3164 has after the tag


def _structured(event: Event, text: str) -> str:
    """Puts the STRUCTURED-DATA under its ids into `fields`; returns what follows. Malformed elements are left in the message."""
    if text.startswith("-"):
        return text[1:]
    count = 0
    while text.startswith("["):
        ident = _NAME.match(text, 1)
        if ident is None:
            return text
        at, values = ident.end(), dict[str, Any]()
        while text.startswith(" ", at) and count < _MOST_PARAMS:
            name = _NAME.match(text, at + 1)
            if name is None or not text.startswith('="', name.end()):
                return text
            start = name.end() + 2
            end = _closing_quote(text, start)
            if end < 0:
                return text
            value = _ESCAPED.sub(r"\1", text[start:end])
            values[name[0]] = [*_as_list(values[name[0]]), value] if name[0] in values else value
            at, count = end + 1, count + 1
        if not text.startswith("]", at):
            return text
        event.fields[ident[0]] = values
        text = text[at + 1 :]
    return text


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _closing_quote(text: str, at: int) -> int:
    while (at := text.find('"', at)) >= 0:
        slashes = 0
        while text[at - 1 - slashes] == "\\":
            slashes += 1
        if slashes % 2 == 0:
            return at
        at += 1
    return -1


def _rfc3164(event: Event, text: str, received: datetime, zone: tzinfo | None) -> None:
    moment = None
    if iso := _ISO.match(text):
        moment, text = _iso(iso[0].rstrip()), text[iso.end() :]
    elif bsd := _BSD.match(text):
        moment, text = _bsd(bsd, received, zone), text[bsd.end() :]
    if moment is not None:
        event.timestamp = moment
        # A host name follows the time, but where a local program wrote to /dev/log: there the tag follows.
        host, space, after = text.partition(" ")
        if space and host and not host.endswith(":") and not _TAG.match(text):
            event.hostname, text = host, after
    tag = _TAG.match(text)
    if tag is not None:
        event.logger, text = tag[1], text[tag.end() :]
        _process(event, tag[2] or "")
    _message(event, text)


def _process(event: Event, process: str) -> None:
    if process.isascii() and process.isdecimal() and len(process) <= 10:
        event.pid = int(process)
    elif process:
        event.fields["procid"] = process


def _message(event: Event, text: str) -> None:
    """The message; one that begins with `@cee:` is JSON, whose names go into `fields` (as rsyslog's mmjsonparse reads it)."""
    event.payload = text
    if not text.startswith(_CEE):
        return
    try:
        found = msgspec.json.decode(text.removeprefix(_CEE).encode())
    except (msgspec.DecodeError, RecursionError):
        return
    if isinstance(found, dict):
        event.payload = str(found.pop("msg", found.pop("message", "")))
        event.fields.update(found)


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _bsd(found: re.Match[str], received: datetime, zone: tzinfo | None) -> datetime | None:
    """A time without year and offset: of the year in which it is nearest to `received`."""
    month, day, hour, minute, second, fraction = found.groups()
    here = received.astimezone(zone)
    best = None
    for year in (here.year - 1, here.year, here.year + 1):
        try:
            moment = datetime(  # noqa: DTZ001 - its zone is given next
                year,
                _MONTHS.index(month) + 1,
                int(day),
                int(hour),
                int(minute),
                min(int(second), 59),
                int((fraction or "0").ljust(6, "0")),
            )
            moment = (moment.replace(tzinfo=zone) if zone is not None else moment).astimezone(UTC)
        except ValueError:
            continue
        if second == "60":  # a leap second: the next one
            moment += timedelta(seconds=1)
        if best is None or abs(moment - received) < abs(best - received):
            best = moment
    return best
