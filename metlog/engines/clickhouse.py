"""Engine `clickhouse`: ClickHouse over the data folder, in a process of its own for each query (package chdb)."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from metlog.engines.base import Rows, Run, TranslatedEngine
from metlog.engines.dialects.clickhouse import CLICKHOUSE, SETTINGS
from metlog.engines.dialects.translate import Sources
from metlog.errors import ConfigError
from metlog.lake.columns import COLUMNS
from metlog.lake.sql.guard import QueryError
from metlog.lake.sql.views import reads_as_column

__all__ = ["ClickHouseEngine"]

_TYPES: Final = {
    "TIMESTAMPTZ": r"DateTime64(6, \'UTC\')", "VARCHAR": "String", "VARCHAR[]": "Array(Nullable(String))", "TINYINT": "Int8",
    "JSON": "String", "DOUBLE": "Float64", "BIGINT": "Int64", "DATE": "Date",
}  # fmt: skip
_STRUCTURE: Final = ", ".join(
    f"{name} Nullable({_TYPES[kind]})" if name == "claimed_timestamp" else f"{name} {_TYPES[kind]}"
    for name, kind in COLUMNS.items()
)
"""Columns with their types: ClickHouse would look for them in the first file that its pattern takes, whole or not."""
_GLOB: Final = frozenset("*?{}[]\\'")


class ClickHouseEngine(TranslatedEngine):
    """Asks ClickHouse, embedded, over the Parquet files of a data folder: `clickhouse:` with `--data DIR`, or `clickhouse:///path/of/it`.

    Each query has a process of its own, which ends with it. memory: bytes that it may take. Events of the journal that are in no file yet
    are not seen.
    """

    name = "clickhouse"
    dialect = CLICKHOUSE

    def __init__(
        self, *, path: str = "", data: Path | None = None, memory: str = "2GB", timeout: float | None = None
    ) -> None:
        folder = Path(path) if path else data
        if folder is None:
            raise ConfigError("engine 'clickhouse' wants a data folder: --data DIR, or clickhouse:///path/of/it")
        if importlib.util.find_spec("chdb") is None:
            raise ConfigError('the package chdb is missing: pip install "metlog[clickhouse]"')
        files = f"{folder.resolve()}/events/*/*.parquet"
        if not _GLOB.isdisjoint(str(folder.resolve())):
            raise ConfigError(
                f"path = {str(folder)!r}: ClickHouse reads *, ?, {{}}, [], a quote or \\ in a path as a pattern; rename the folder"
            )
        if reads_as_column(folder):
            raise ConfigError(
                f"path = {str(folder)!r}: ClickHouse takes a folder such as type=prod for a column of its files; rename it, or ask duckdb"
            )
        source = f"file('{files}', 'Parquet', '{_STRUCTURE}')"
        seen = "WHERE NOT startsWith(_file, '.')"  # its patterns take hidden files: those that `compact` is writing
        super().__init__(
            Sources(
                {
                    "events": f"(SELECT * FROM {source} {seen})",
                    "arrivals": "(SELECT *, _file AS arrival_file, CAST(_row_number AS Int64) AS arrival_row"
                    f" FROM {source} {seen})",
                    "files": "(SELECT date, 'parquet' AS kind, _file AS name, CAST(max(_size) AS Int64) AS bytes,"
                    f" CAST(count() AS Int64) AS events FROM {source} {seen} GROUP BY date, _file)",
                }
            ),
            timeout=timeout,
        )
        self.folder = folder
        self._memory = memory

    @contextmanager
    def run(self, sql: str, run: Run) -> Iterator[Rows]:
        if run.limited:
            raise QueryError(
                "clickhouse cannot promise that a query sees some services only: it may try a condition on other events first; ask duckdb",
                "refused",
            )
        settings: dict[str, Any] = {**SETTINGS, "max_memory_usage": _bytes(self._memory)}
        if run.left is not None:
            settings["max_execution_time"] = run.left
        asked = msgspec.json.encode({"sql": sql, "settings": settings})
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "metlog.engines.chdb_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            ended = threading.Event()
            watch = threading.Thread(target=_watch, args=(process, run, ended), name="metlog-engine-watch", daemon=True)
            watch.start()
            try:
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
                    process.stdin.write(asked)
                    process.stdin.close()
                yield self._read(process, said, run)
            finally:
                ended.set()
                watch.join()
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()

    def _read(self, process: subprocess.Popen[bytes], said: Any, run: Run) -> Rows:
        run.tell("clickhouse: running")
        try:
            reader = pa.ipc.open_stream(process.stdout)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._failed(process, said, run) from error
        columns = [(field.name, field.type) for field in reader.schema]
        return Rows(columns, self._rows(reader, process, said, run))

    def _rows(
        self, reader: Any, process: subprocess.Popen[bytes], said: Any, run: Run
    ) -> Iterator[Sequence[Sequence[Any]]]:
        try:
            for batch in reader:
                run.check()
                if batch.num_rows:
                    yield list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
        except (pa.ArrowInvalid, OSError) as error:
            raise self._failed(process, said, run) from error
        if process.wait() != 0:
            raise self._failed(process, said, run)

    def _failed(self, process: subprocess.Popen[bytes], said: Any, run: Run) -> QueryError:
        reason = run.reason()
        if reason is not None:
            return reason
        process.wait()
        said.seek(0)
        text = said.read().decode("utf-8", "replace").strip()
        return QueryError(f"clickhouse: {text[-1500:] or f'its process ended with {process.returncode}'}", "failed")


def _watch(process: subprocess.Popen[bytes], run: Run, ended: threading.Event) -> None:
    while not ended.wait(0.1):
        if run.reason() is not None:
            process.kill()
            return


def _bytes(text: str) -> int:
    import duckdb

    try:
        row = duckdb.connect(":memory:").execute("SELECT parse_formatted_bytes($1)", [text]).fetchone()
    except duckdb.Error:
        raise ConfigError(f"memory = {text!r}: wants a size such as 2GB") from None
    return int(row[0]) if row else 0
