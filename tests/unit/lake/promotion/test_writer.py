"""Promoted columns in what the lake's writer makes of the journal: a segment's files, and those of a partitioned log."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from metlog.errors import ConfigError
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import SEALED, Clock, SegmentName, encode_record, header
from metlog.lake.backlog import Backlog
from metlog.lake.chains import Chains
from metlog.lake.parquet import Parquet
from metlog.lake.promotion.choice import Promotion
from metlog.lake.schema import SCHEMA
from metlog.lake.storage import FolderStorage
from metlog.lake.writer import LakeWriter
from metlog.listener.outputs.lake import LakeOutput
from tests.helpers.promoted import events_table, promoted_in

_NAME = SegmentName(1, "abc123")
_TIME = 1_772_366_400_000_000


def journal_with(folder: Path, fields: list[dict[str, Any]]) -> Folder:
    folder.mkdir()
    lines = b"\n".join(
        json.dumps({"timestamp": "2026-03-01T12:00:00Z", "type": "request", "fields": item}).encode() for item in fields
    )
    record = encode_record(_TIME, len(fields), b"udp://127.0.0.1:1", b"", lines)
    (folder / f"{_NAME}{SEALED}").write_bytes(header(Clock()) + record)
    return Folder.root(folder)


@pytest.mark.parametrize(("promote", "wanted"), [(True, {"user", "ms"}), (["ms"], {"ms"}), (False, set())])
def test_a_segments_file_has_the_columns_that_were_chosen(tmp_path: Path, promote: Any, wanted: set[str]) -> None:
    fields = [{"user": f"u{n % 9}", "ms": n / 8} for n in range(600)]
    data = tmp_path / "data"
    with journal_with(tmp_path / "journal", fields) as journal, Folder.root(data, create=True) as root:
        events = root.sub("events", create=True)
        writer = LakeWriter(FolderStorage(root), "zstd", 3, events, promote=promote)
        assert writer.write(journal, _NAME, Route()).events == 600
        (path,) = (data / "events").rglob("*.parquet")
        before = path.read_bytes()
        assert set(promoted_in(path)) == wanted
        assert len(pq.read_schema(path).names) == len(SCHEMA.names) + len(wanted)
        LakeWriter(FolderStorage(root), "zstd", 3, events, promote=promote).write(journal, _NAME, Route())
        assert path.read_bytes() == before, "the same segment gives the same file"
        events.close()


def test_files_of_a_query_engine_of_its_own_have_none(tmp_path: Path) -> None:
    with journal_with(tmp_path / "journal", [{"user": f"u{n % 9}"} for n in range(600)]) as journal:
        backlog = Backlog(tmp_path / "behind")
        ((_, path),) = backlog.files(journal, _NAME, Route(), lambda: None) or []
    assert pq.read_schema(path).names == SCHEMA.names


def test_a_chains_files_have_them_also_when_they_are_made_again(tmp_path: Path) -> None:
    import pyarrow as pa

    from metlog.journal.offsets import Spans

    def rows(begin: int, end: int) -> pa.Table:
        table = events_table([{"user": f"u{n}"} for n in range(begin, end)])
        return table.append_column("log_offset", pa.array(range(begin, end), pa.int64()))

    day = date(2026, 3, 1)
    with Folder.root(tmp_path) as root:
        storage = FolderStorage(root)
        ours, theirs = (Chains(storage, Parquet(promotion=Promotion(storage, ["user"]))) for _ in range(2))
        file = ours.file("t-0a-0", day, lambda: Spans([(0, 6)]))
        file.write(rows(0, 6))
        assert theirs.write("t-0a-0", day, rows(0, 4), Spans([(0, 4)])) == 4
        assert file.finish() == 2, "others were first with the rest"
    tables = [pq.read_table(path, partitioning=None) for path in sorted(tmp_path.rglob("*.parquet"))]
    assert [table["field_text_user"].to_pylist() for table in tables] == [["u0", "u1", "u2", "u3"], ["u4", "u5"]]
    assert all(promoted_in(path)["user"].right for path in tmp_path.rglob("*.parquet"))


def test_the_outputs_option_is_checked_at_the_start() -> None:
    LakeOutput(promote=["user", "http.route"])
    with pytest.raises(ConfigError, match=r"lake\.promote: 'a' stands there 2 times"):
        LakeOutput(promote=["a", "a"])
