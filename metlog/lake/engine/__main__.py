"""`python -m metlog.lake.engine`: starts the engine, which takes less time and memory without what it does not use."""

from __future__ import annotations

import sys

from metlog.plugins.absent import UNUSED_BY_ARROW, leave_out

if __name__ == "__main__":
    leave_out(UNUSED_BY_ARROW)
    from metlog.lake.engine.process import main

    main(int(sys.argv[1]))
