"""The lake: journal segments and Parquet files on disk, how they are written and how they are read together."""

from __future__ import annotations

import sys
from importlib.util import find_spec

for _name in ("duckdb", "pyarrow"):
    if _name not in sys.modules and find_spec(_name) is None:
        raise ModuleNotFoundError(f'{__name__} needs {_name}: pip install "metlog[listener]"', name=_name)
