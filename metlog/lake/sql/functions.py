"""The functions that a query may call, by name: a reviewed list (functions.toml), not a rule over DuckDB's own labels.

Labels may change between two patch releases of DuckDB. New functions are refused until reviewed; listed ones stay available.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Final

__all__ = ["ALLOWED", "REFUSED", "REVIEWED", "TABLES", "installed", "unreviewed"]


def _names(groups: dict[str, str]) -> frozenset[str]:
    found: set[str] = set()
    for text in groups.values():
        for line in text.splitlines():
            found.update(name.strip() for name in line.split(", ")) if ", " in line else found.update(line.split())
    return frozenset(found)


_FILE: Final = tomllib.loads(files("metlog.lake.sql").joinpath("functions.toml").read_text("utf-8"))

REVIEWED: Final = str(_FILE["reviewed"])
"""The release of DuckDB whose functions are all in the list."""
ALLOWED: Final = _names(_FILE["allowed"])
"""Functions in an expression."""
TABLES: Final = _names(_FILE["tables"])
"""Functions in FROM."""
REFUSED: Final = _names(_FILE["refused"])
"""Read and left out; names, or patterns with `*`."""


def installed() -> set[str]:
    """The names of all functions of the installed DuckDB."""
    import duckdb

    rows = duckdb.connect(":memory:").execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()").fetchall()
    return {str(row[0]) for row in rows}


def unreviewed(names: Iterable[str]) -> list[str]:
    """Those that nobody has read yet."""
    return sorted(
        name
        for name in names
        if name not in ALLOWED and name not in TABLES and not any(fnmatchcase(name, pattern) for pattern in REFUSED)
    )


def main() -> int:
    """Tells what the installed DuckDB has and the list does not; status 1 when there is something."""
    import duckdb

    found = unreviewed(installed())
    print(
        f"DuckDB {duckdb.__version__}, functions.toml was reviewed with {REVIEWED}: {len(found)} functions are not in it"
    )
    for name in found:
        print(f"  {name}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
