"""Data sets with promoted columns, made of the fields of their events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from metlog.journal.folder import Folder
from metlog.lake.parquet import Parquet
from metlog.lake.promotion.choice import Promotion
from metlog.lake.promotion.footer import Promoted, decode
from metlog.lake.schema import SCHEMA
from metlog.lake.storage import FolderStorage

__all__ = ["NAMES", "data_set", "events_table", "file_content", "promoted_in", "write_file"]

NAMES: Final = ["user", "ms", "a.b", "größe", "User", "n"]
"""Names that `data_set` promotes."""
_START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def events_table(fields: Sequence[dict[str, Any] | str], first: int = 1, **columns: Any) -> pa.Table:
    """Events with these fields (as JSON text, or a dict to be written) and with numbers from `first` on."""
    rows = [
        {
            "timestamp": _START + timedelta(milliseconds=first + number), "type": "request", "tokens": ["web"], "logger": "shop",
            "severity": 6, "payload": "", "weight": 1.0, "env_version": "1", "pid": 1, "hostname": "h", "stream": "s",
            "fields": text if isinstance(text, str) else json.dumps(text, ensure_ascii=False), "seq": first + number,
            "received_at": _START, "source": "test", "claimed_timestamp": None, **columns,
        }
        for number, text in enumerate(fields)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_file(data: Path, name: str, groups: Sequence[pa.Table], promotion: Promotion | None) -> Path:
    """Writes a file of these row groups."""
    file = Parquet(promotion=promotion).grow()
    for group in groups:
        file.write(group)
    path = data / "events" / f"date={_START.date()}" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.take() + file.close())
    return path


def file_content(groups: Sequence[Sequence[dict[str, Any]]], promotion: Promotion | None, first: int = 1) -> bytes:
    """A file of events with these fields, a row group for each item, numbered from `first` on."""
    file = Parquet(promotion=promotion).grow()
    for group in groups:
        file.write(events_table(group, first))
        first += len(group)
    return file.close()


def data_set(data: Path, files: Sequence[Sequence[Sequence[dict[str, Any]]]], promote: Any = NAMES) -> Path:
    """A data folder with a file for each item, a row group for each item of that."""
    with Folder.root(data) as root:
        promotion = Promotion(FolderStorage(root), promote)
        seq = 1
        for number, groups in enumerate(files):
            made = []
            for group in groups:
                made.append(events_table(group, seq))
                seq += len(group)
            write_file(data, f"file-{number}", made, promotion)
    return data


def promoted_in(path: Path) -> dict[str, Promoted]:
    """What a file's footer says, by name."""
    return {entry.name: entry for entry in decode(pq.read_metadata(path).metadata)}
