"""Templates: always escaped, never a name that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from metlog import __version__
from metlog.lake.export import encode
from metlog.lake.shown import is_number, size
from metlog.reports.charts.labels import parameter_label
from metlog.reports.charts.vega import period
from metlog.web.assets import Assets
from metlog.web.conditions import within
from metlog.web.listeners import ago, sentences
from metlog.web.members import flat, listed
from metlog.web.results import cell
from metlog.web.security import csrf_token
from metlog.web.times import PRESETS, REFRESH, in_url, in_zone, shown_times
from metlog.web.words import SEVERITIES, service, severity_of, shown_type

__all__ = ["Views"]


class Views:
    """Renders the templates of this package."""

    def __init__(self, assets: Assets) -> None:
        self.assets = assets
        self._templates = Environment(
            loader=PackageLoader("metlog.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            asset=assets.url,
            severities=SEVERITIES,
            version=__version__,
            presets=PRESETS,
            refreshes=[text for text in REFRESH if text],
        )
        self._templates.filters.update(
            cell=_cell,
            compact=compact,
            whole=whole,
            moment=_moment,
            ago=ago,
            pretty=pretty,
            content=content,
            is_number=is_number,
            bounds=bounds,
            rate=rate,
            figure=figure,
            sentences=sentences,
            size=size,
            service=service,
            shown_type=shown_type,
            valued=valued,
            toggled=toggled,
            flat=flat,
            listed=listed,
            near=near,
            severity_name=lambda text: SEVERITIES[severity_of(text)],
            share=share,
            preview=preview,
            period=period,
            parameter_label=parameter_label,
        )

    def render(self, request: Request, name: str, values: dict[str, Any], status: int = 200) -> HTMLResponse:
        """A page. Every template knows `access` (None before login), `here` (the part of the page), `csrf`, and `times`, the time control's
        state; `clock` says how much of the control the page has: `span` (all of it, if not given), `zone`, or nothing."""
        access = getattr(request.state, "access", None)
        request.state.access = access
        page = request.app.state.page
        text = self._templates.get_template(name).render(
            access=access,
            here=values.pop("here", ""),
            clock=values.pop("clock", "span"),
            times=shown_times(request),
            csrf=csrf_token(request),
            path=request.url.path,
            demands=bool(page.settings.tokens),
            **values,
        )
        return HTMLResponse(text, status)


def compact(number: float | None) -> str:
    """1234567 as 1.23 M."""
    if number is None:
        return "–"
    for least, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= least:
            divided = number / (least if unit != "k" else 1e3)
            return f"{divided:.3g} {unit}" if abs(divided) < 1000 else f"{divided:.0f} {unit}"
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 100 else f"{number:.3g}"


def whole(number: float) -> str:
    """1234567 as 1,234,567."""
    return f"{number:,.0f}"


def share(part: float, of: float) -> str:
    """A share in percent, as exact as its size asks for."""
    if not of:
        return "–"
    percent = 100 * part / of
    return (
        "0 %"
        if part == 0
        else f"{percent:.3f} %"
        if percent < 0.1
        else f"{percent:.2f} %"
        if percent < 10
        else f"{percent:.1f} %"
    )


def _zone(context: Context) -> ZoneInfo:
    """The zone of the page that a template is rendered for; UTC in a macro that was imported without its context."""
    times = context.get("times")
    return times.zone if times is not None else ZoneInfo("UTC")


@pass_context
def _cell(context: Context, value: Any, sql_type: str = "") -> str:
    return cell(value, sql_type, _zone(context))


@pass_context
def _moment(context: Context, value: datetime | str | None, part: str = "all") -> str:
    return moment(value, part, _zone(context))


def moment(value: datetime | str | None, part: str = "all", zone: ZoneInfo | None = None) -> str:
    """A time to the millisecond, in UTC if no zone is given; `part` is `all`, `date`, `time` or `minute`."""
    if value is None:
        return ""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    value = in_zone(value, zone or ZoneInfo("UTC"))
    return {
        "minute": f"{value:%Y-%m-%d %H:%M}",
        "all": f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}",
        "date": f"{value:%Y-%m-%d}",
        "time": f"{value:%H:%M:%S}.{value.microsecond // 1000:03d}",
    }[part]


def bounds(span: Any) -> list[tuple[str, str]]:
    """The `since` and `until` of a link to something that has `begin` and `end`."""
    return [("since", in_url(span.begin)), ("until", in_url(span.end))]


_COLUMN: Final = {"service": "logger", "message": "payload", "host": "hostname"}
"""Columns of events by the names that people use."""


def valued(event: dict[str, Any], column: str) -> str:
    """The value of a column of one's choice: of the event, or one of its fields, with dots for what is inside another one."""
    if column == "severity":
        return SEVERITIES[event["severity"]]
    if column == "tokens":
        return ", ".join(event["tokens"])
    name = _COLUMN.get(column, column)
    if name in event and name not in {"fields", "timestamp"}:
        value: Any = shown_type(event[name]) if name == "type" else event[name]
    else:
        value = within(event["fields"], column)
    return "" if value is None else value[:300] if isinstance(value, str) else encode(value).decode()[:300]


def near(event: Mapping[str, Any], seconds: float) -> list[tuple[str, str]]:
    """The span of a link to what happened so long before and after an event."""
    length = timedelta(seconds=seconds)
    return [("since", in_url(event["timestamp"] - length)), ("until", in_url(event["timestamp"] + length))]


def toggled(columns: list[str], name: str) -> str:
    """The list of columns with one more, or without it, as a URL has it."""
    return ",".join([column for column in columns if column != name] if name in columns else [*columns, name])


def preview(fields: dict[str, Any]) -> str:
    """Fields in a line, for lists of events."""
    shown = (f"{key}={value if isinstance(value, str) else encode(value).decode()}" for key, value in fields.items())
    text = "  ".join(text if len(text) < 80 else f"{text[:80]}…" for text, _ in zip(shown, range(12), strict=False))
    return text if len(text) <= 200 else f"{text[:200]}…"


def rate(events: float, seconds: float) -> str:
    """So many a second, a minute or an hour: the first of which there is at least one."""
    for length, unit in ((1, "second"), (60, "minute"), (3600, "hour")):
        if (each := events * length / seconds) >= 1 or length == 3600:
            return f"{compact(each)} {'an' if unit == 'hour' else 'a'} {unit}"
    raise AssertionError


def figure(value: Any, key: str) -> str:
    """A figure of a listener's status: sizes with their unit, times ago, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return str(value)
    if "bytes" in key or key == "receive_buffer":
        return size(value)
    if key == "moved":
        return ago(datetime.fromtimestamp(value, UTC)) if value else "never"
    return f"{value:.1f} s" if key.endswith("seconds") else whole(value)


def content(text: str) -> Markup:
    """Text for what stands between two tags, where quotes need no escaping: a page of events has hundreds."""
    return Markup(escape(text, quote=False))  # noqa: S704 - escaped here


def pretty(value: Any) -> str:
    """JSON for reading."""
    import msgspec

    return msgspec.json.format(encode(value), indent=2).decode()
