"""The web page: reports with charts, live tail, search and SQL in a browser, and the same for programs."""

from __future__ import annotations

from metlog.plugins.loading import require

require(__name__, "web", ("starlette", "jinja2", "uvicorn"))
