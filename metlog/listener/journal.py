"""Kept import path: `metlog.journal.writer`."""

from metlog.journal.writer import Journal, JournalOptions

__all__ = ["Journal", "JournalOptions"]
