"""DuckDB's SQL in another engine's words: `translate`, and a table of functions and rules for each dialect."""

from metlog.engines.dialects.dialect import Dialect, Rule, Unsupported
from metlog.engines.dialects.translate import Sources, translate

__all__ = ["Dialect", "Rule", "Sources", "Unsupported", "translate"]
