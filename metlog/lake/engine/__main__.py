"""`python -m metlog.lake.engine`: starts the engine, which takes less time and memory without what it does not use."""

from __future__ import annotations

import sys

UNUSED = ("numpy", "pandas")
"""pyarrow imports them wherever they are installed, pandas at the first array."""

if __name__ == "__main__":
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # an import of it raises ModuleNotFoundError
    from metlog.lake.engine.process import main

    main(int(sys.argv[1]))
