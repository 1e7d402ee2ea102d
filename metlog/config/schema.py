"""Checking of settings against a struct, for every table of every configuration: see `metlog.plugins.schema`."""

from __future__ import annotations

from metlog.plugins.schema import FilePath, Port, Seconds, Size, Unit, checked, unknown

__all__ = ["FilePath", "Port", "Seconds", "Size", "Unit", "checked", "unknown"]
