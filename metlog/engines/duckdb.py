"""Engine `duckdb`: the data folder, read by DuckDB in this process or in one of its own."""

from __future__ import annotations

from pathlib import Path

from metlog.errors import ConfigError
from metlog.lake.engine.client import GuardedLake
from metlog.lake.query import Lake
from metlog.lake.result import Queryable

__all__ = ["duckdb_engine"]


def duckdb_engine(
    *,
    data: Path | None = None,
    path: str = "",
    memory: str = "2GB",
    spill: str = "4GB",
    timeout: float | None = None,
    threads: int | None = None,
    queries: int = 4,
    isolated: bool = False,
) -> Queryable:
    """Asks DuckDB over the data folder: Parquet files, and the events of the journal that are in none yet.

    path: the data folder (`duckdb:///var/lib/metlog`), that of `--data` where it is not given. memory, spill: of the engine, for all
    queries together. isolated: in a process of its own, as the page does, so that no query takes this one's memory.

    Raises FileNotFoundError when there is no such folder.
    """
    folder = Path(path) if path else data
    if folder is None:
        raise ConfigError("engine 'duckdb' wants a data folder: --data DIR, METLOG_DATA, or duckdb:///path/of/it")
    if isolated:
        return GuardedLake(folder, memory=memory, spill=spill, timeout=timeout, threads=threads, queries=queries)
    return Lake(folder, memory=memory, spill=spill, timeout=timeout, threads=threads)
