"""Filters: an event in, the same, a changed one or None out. One file a filter (or a family of them)."""

from __future__ import annotations

from metlog.core.interfaces import BaseFilter, Filter

__all__ = ["BaseFilter", "Filter"]
