"""`python -m metlog`: the command."""

from __future__ import annotations

from metlog.cli import main

if __name__ == "__main__":
    main()
