"""Templates: always escaped, never a name that is not there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from metlog import __version__
from metlog.lake.export import encode
from metlog.reports.charts.vega import period
from metlog.reports.labels import parameter_label
from metlog.web.assets import Assets
from metlog.web.results import cell, is_number
from metlog.web.security import csrf_token

__all__ = ["SEVERITIES", "Views"]

SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug")


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
        self._templates.globals.update(asset=assets.url, severities=SEVERITIES, version=__version__)
        self._templates.filters.update(
            cell=cell,
            compact=compact,
            whole=whole,
            moment=moment,
            ago=ago,
            pretty=pretty,
            is_number=is_number,
            share=share,
            preview=preview,
            period=period,
            parameter_label=parameter_label,
        )

    def render(self, request: Request, name: str, values: dict[str, Any], status: int = 200) -> HTMLResponse:
        """A page. Every template knows `access` (None before login), `here` (the part of the page) and `csrf`."""
        access = getattr(request.state, "access", None)
        request.state.access = access
        page = request.app.state.page
        text = self._templates.get_template(name).render(
            access=access,
            here=values.pop("here", ""),
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
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            divided = number / (size if unit != "k" else 1e3)
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


def moment(value: datetime | str | None, part: str = "all") -> str:
    """A time in UTC, to the millisecond; `part` is `all`, `date` or `time`."""
    if value is None:
        return ""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    value = value.astimezone(UTC)
    return {
        "all": f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}",
        "date": f"{value:%Y-%m-%d}",
        "time": f"{value:%H:%M:%S}.{value.microsecond // 1000:03d}",
    }[part]


def preview(fields: dict[str, Any]) -> str:
    """Fields in a line, for lists of events."""
    shown = (f"{key}={value if isinstance(value, str) else encode(value).decode()}" for key, value in fields.items())
    return "  ".join(text if len(text) < 80 else f"{text[:80]}…" for text, _ in zip(shown, range(12), strict=False))


def ago(value: datetime | str | None) -> str:
    """How long ago, in words."""
    if value is None:
        return "never"
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    seconds = (datetime.now(UTC) - value).total_seconds()
    if seconds < 2:
        return "now"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def pretty(value: Any) -> str:
    """JSON for reading."""
    import msgspec

    return msgspec.json.format(encode(value), indent=2).decode()
