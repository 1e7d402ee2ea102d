"""Style sheets and scripts, under addresses that change with their content; and the chart library, bundled at run time."""

from __future__ import annotations

import gzip
import hashlib
import threading
from importlib.resources import files
from importlib.util import find_spec
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from metlog.reports.charts.drawing import Drawer, DrawError
from metlog.web.errors import Refused

__all__ = ["Assets"]

_TYPES: Final = {
    "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml; charset=utf-8",
}  # fmt: skip
_FOREVER: Final = "public, max-age=31536000, immutable"
VEGA: Final = "vega.js"


class _Asset(NamedTuple):
    digest: str
    media_type: str
    plain: bytes
    packed: bytes


class Assets:
    """All of them are in memory; the chart library (Vega, Vega-Lite, vega-embed) is taken out of vl-convert when first asked for,
    so that neither a network nor a copy in this package is needed."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self._files = {
            entry.name: _asset(entry.name, entry.read_bytes())
            for entry in files("metlog.web").joinpath("static").iterdir()
            if entry.name.rpartition(".")[2] in _TYPES
        }
        self._lock = threading.Lock()
        self._vega: _Asset | None = None
        self.charts = find_spec("vl_convert") is not None

    def url(self, name: str) -> str:
        """The address of a file, for templates."""
        digest = _vega_version() if name == VEGA else self._files[name].digest
        return f"/static/{digest}/{name}"

    def serve(self, request: Request) -> Response:
        """`/static/DIGEST/NAME`. Runs in a thread: the first request for the chart library takes a second or two."""
        name = request.path_params["name"]
        if name == VEGA and self.charts:
            asset = self._bundle()
        elif name in self._files:
            asset = self._files[name]
        else:
            raise Refused(404, f"there is no file {name!r}")
        packs = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if packs else {})
        # An old address gets the new file, but only its own address may be kept.
        headers["Cache-Control"] = _FOREVER if request.path_params["digest"] == asset.digest else "no-cache"
        return Response(asset.packed if packs else asset.plain, media_type=asset.media_type, headers=headers)

    def _bundle(self) -> _Asset:
        with self._lock:
            if self._vega is None:
                try:
                    script = self._drawer.draw(None, "script")
                except DrawError as error:
                    raise Refused(503, f"the library that draws in the browser is not at hand: {error}") from error
                self._vega = _asset(VEGA, script)._replace(digest=_vega_version())
            return self._vega


def _asset(name: str, content: bytes) -> _Asset:
    digest = hashlib.sha256(content).hexdigest()[:16]
    return _Asset(digest, _TYPES[name.rpartition(".")[2]], content, gzip.compress(content, 6, mtime=0))


def _vega_version() -> str:
    import vl_convert

    versions = (
        vl_convert.get_vega_version(),
        vl_convert.get_vegalite_versions()[-1],
        vl_convert.get_vega_embed_version(),
    )
    return hashlib.sha256(repr(versions).encode()).hexdigest()[:16]
