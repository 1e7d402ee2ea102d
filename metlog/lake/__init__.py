"""The lake: journal segments and Parquet files on disk, how they are written and how they are read together."""

from __future__ import annotations

from metlog.plugins.loading import require

require(__name__, "listener", ("duckdb", "pyarrow"))
