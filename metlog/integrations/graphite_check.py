"""Kept import path: `metlog.diagnose.graphite`."""

from metlog.diagnose.graphite import check

__all__ = ["check"]
