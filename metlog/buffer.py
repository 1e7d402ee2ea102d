"""Kept import path: `metlog.core.buffer`."""

from metlog.core.buffer import Buffer

__all__ = ["Buffer"]
