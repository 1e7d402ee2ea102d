"""The columns of an event in SQL; apart from `metlog.lake.schema`, so that what only names them does not load Arrow."""

from __future__ import annotations

from typing import Final

__all__ = ["COLUMNS"]

COLUMNS: Final[dict[str, str]] = {
    "timestamp": "TIMESTAMPTZ",
    "type": "VARCHAR",
    "tokens": "VARCHAR[]",
    "logger": "VARCHAR",
    "severity": "TINYINT",
    "payload": "VARCHAR",
    "fields": "JSON",
    "weight": "DOUBLE",
    "env_version": "VARCHAR",
    "pid": "BIGINT",
    "hostname": "VARCHAR",
    "stream": "VARCHAR",
    "seq": "BIGINT",
    "received_at": "TIMESTAMPTZ",
    "source": "VARCHAR",
    "claimed_timestamp": "TIMESTAMPTZ",
    "date": "DATE",
}
"""Columns of the view `events` with their SQL types (DuckDB's names), in order."""
