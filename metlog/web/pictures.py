"""Charts as pictures: the specification in one of the page's sizes, drawn here as SVG or PNG, kept for some seconds."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Literal, cast

from starlette.requests import Request
from starlette.responses import Response

from metlog.lake.interface import Result
from metlog.reports.charts.drawing import DrawError
from metlog.reports.charts.vega import specification
from metlog.reports.spec import Charted
from metlog.web.errors import Refused
from metlog.web.forms import query_of
from metlog.web.state import page_of

__all__ = ["PICTURES", "chart", "picture"]

_SIZES: Final = {"": (960, 340), "page": (960, 320), "small": (460, 250), "phone": (390, 300)}
"""Width and height of a picture, in pixels; one with a name stands on a page, which has the title already."""
_NARROW: Final = 500
"""Pixels below which each note below a title has a line of its own."""
PICTURES: Final = {"svg": "image/svg+xml", "png": "image/png"}
"""Kinds of pictures with their media types."""


def chart(
    report: Charted, result: Result, size: str = "", *, dark: bool = False, link: Callable[..., str] | None = None
) -> dict[str, Any]:
    """The Vega-Lite specification of a result, for one of the sizes; `link` gives the address behind a mark. Raises Refused 400."""
    if size not in _SIZES:
        raise Refused(400, f"_size = {size!r}: wants {', '.join(filter(None, _SIZES))}, or nothing")
    width, height = _SIZES[size]
    spec = specification(report, result, dark=dark, width=width, height=height, link=link)
    if size:
        title = spec.pop("title")
        if title["subtitle"]:
            spec["title"] = {
                "text": title["subtitle"].split("; ") if width < _NARROW else title["subtitle"], "anchor": "start", "frame": "group", "offset": 10,
                "color": title["subtitleColor"], "fontSize": title["subtitleFontSize"], "fontWeight": "normal",
            }  # fmt: skip
        spec |= {"background": "transparent", "padding": {"left": 14, "right": 8, "top": 2, "bottom": 4}}
    return spec


async def picture(request: Request, kind: str, key: Hashable, report: Charted, result: Result, name: str) -> Response:
    """The chart as a picture of this kind, for `_theme` light or dark, in a `_size`; as a download with `_download`. Raises Refused."""
    given = query_of(request)
    size, dark = given.get("_size", ""), given.get("_theme", "light") == "dark"
    page = page_of(request)
    kept = (key, kind, size, dark)
    drawn = page.caches.pictures.get(kept)
    if drawn is None:
        spec = chart(report, result, size, dark=dark)
        try:
            drawn = page.caches.pictures.put(
                kept,
                await page.pool.run(request, lambda _: page.drawer.draw(spec, cast("Literal['svg', 'png']", kind))),
            )
        except DrawError as error:
            raise Refused(500, f"{error}; its table and its downloads have the numbers", kind="picture") from error
    headers = {"Cache-Control": "private, max-age=10"}
    if "_download" in given:
        headers["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return Response(drawn, media_type=PICTURES[kind], headers=headers)
