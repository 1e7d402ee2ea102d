"""`python -m metlog.cli`."""

from __future__ import annotations

from metlog.cli import main

main()
