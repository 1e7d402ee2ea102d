"""The web page: reports with charts, live tail, search and SQL in a browser, and the same for programs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

for _name in ("starlette", "jinja2", "uvicorn"):
    if _name not in sys.modules and find_spec(_name) is None:
        raise ModuleNotFoundError(f'{__name__} needs {_name}: pip install "metlog[web]"', name=_name)
