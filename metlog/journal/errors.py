"""Errors of the journal."""

from __future__ import annotations

from metlog.errors import MetlogError

__all__ = ["Full"]


class Full(MetlogError):
    """The journal takes nothing now: its cap is reached, or the disk is full or broken. Try again later."""
