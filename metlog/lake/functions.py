"""Kept path of the command `python -m metlog.lake.functions`: `metlog.lake.sql.functions`."""

import sys

from metlog.lake.sql.functions import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
