"""An engine that is asked in its own dialect: translation, types, limits and Arrow, around whatever runs the statement."""

from __future__ import annotations

import tempfile
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, ClassVar

import pyarrow as pa

from metlog.engines.arrow import batches
from metlog.engines.dialects.dialect import Dialect
from metlog.engines.dialects.translate import Sources, translate
from metlog.lake.cancel import Cancel, Progress
from metlog.lake.interface import check_timeout
from metlog.lake.query import Lake
from metlog.lake.result import Column, Params, Queryable, Stream, unique
from metlog.lake.sql.guard import QueryError, parse

__all__ = ["Rows", "Run", "TranslatedEngine"]


@dataclass
class Rows:
    """What a statement gives. columns: names with the engine's own types (Arrow's, text where it is not known); rows: lists of rows."""

    columns: Sequence[tuple[str, pa.DataType]]
    rows: Iterable[Sequence[Sequence[Any]]]


class Run:
    """One statement that runs: when it must end, and what is to be told meanwhile.

    limited: it is for somebody who sees some services only, so that the engine must raise no error that depends on other events.
    """

    def __init__(self, engine: str, timeout: float | None, cancel: Cancel | None, *, limited: bool = False) -> None:
        self.engine = engine
        self.timeout = timeout
        self.limited = limited
        self.began = time.monotonic()
        self._cancel = cancel
        self._until = None if timeout is None else self.began + timeout

    @property
    def left(self) -> float | None:
        """Seconds until the limit; None without one."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)

    def tell(self, text: str, share: float | None = None) -> None:
        """Says how far the engine is, in its own words."""
        if self._cancel is not None:
            self._cancel.progress = Progress(text, share)

    def reason(self) -> QueryError | None:
        """Why the statement must end now; None while it may go on."""
        if self._cancel is not None and self._cancel.cancelled:
            return QueryError("the query was cancelled", "cancelled")
        if self._until is not None and time.monotonic() > self._until:
            return QueryError(
                f"the query took longer than the limit of {self.timeout:g} s in {self.engine}; ask for fewer days or columns",
                "timeout",
            )
        return None

    def check(self) -> None:
        """Raises QueryError when the statement must end."""
        error = self.reason()
        if error is not None:
            raise error


class TranslatedEngine(Queryable):
    """Takes DuckDB's SQL, sends the engine's. Heirs give `name`, `dialect` and `run`.

    sources: what stands for the views. data: a data folder for views that the engine lacks (`files` on Hive): DuckDB answers queries that
    name them alone. timeout: seconds that no query may exceed.
    """

    dialect: ClassVar[Dialect]
    slow = True

    def __init__(self, sources: Sources, *, data: Path | str | None = None, timeout: float | None = None) -> None:
        check_timeout(timeout)
        self.sources = sources
        self.timeout = timeout
        self.data = Path(data).resolve() if data is not None else None
        self._lock = threading.Lock()
        self._lakes: dict[str, Lake] = {}
        self._empty = tempfile.mkdtemp(prefix="metlog-types-")
        self._finalizer = weakref.finalize(self, rmtree, self._empty, ignore_errors=True)

    @abstractmethod
    def run(self, sql: str, run: Run) -> AbstractContextManager[Rows]:
        """Runs a statement in the engine's words; rows are fetched while they are read, and the statement is ended there when the
        block is left. `run.check()` is to be called again and again. Raises QueryError."""

    def _lake(self, folder: Path | str) -> Lake:
        with self._lock:
            found = self._lakes.get(str(folder))
            if found is None:
                found = self._lakes[str(folder)] = Lake(folder, memory="1GB", timeout=self.timeout)
            return found

    def translated(self, sql: str, params: Params = None, *, loggers: Sequence[str] | None = None) -> str:
        """What the engine would be sent. Raises QueryError."""
        return translate(sql, params, self.dialect, self.sources, loggers=loggers)

    def shape(self, sql: str, params: Params = None) -> tuple[list[Column], pa.Schema]:
        """Names and types of a result as DuckDB has them, found over no events at all. Raises QueryError, with DuckDB's own words."""
        with self._lake(self._empty).stream(sql, params) as found:
            return found.columns, found.schema

    @contextmanager
    def stream(
        self,
        sql: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        loggers: Sequence[str] | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[Stream]:
        limit = min((value for value in (timeout, self.timeout) if value is not None), default=None)
        used = parse(sql).tables & {"events", "arrivals", "delivery", "files"}
        if self.data is not None and used and not any(self.sources.has(view) for view in used):
            with self._lake(self.data).stream(sql, params, timeout=timeout, loggers=loggers, cancel=cancel) as found:
                yield found
            return
        columns, schema = self.shape(sql, params)
        text = self.translated(sql, params, loggers=loggers)
        run = Run(self.name, limit, cancel, limited=loggers is not None)
        with self.run(text, run) as rows:
            yield Stream(columns, batches(rows.rows, schema, self.name), schema)

    @contextmanager
    def raw(self, sql: str, *, timeout: float | None = None, cancel: Cancel | None = None) -> Iterator[Stream]:
        """A statement in the engine's own words, sent as it is."""
        limit = min((value for value in (timeout, self.timeout) if value is not None), default=None)
        with self.run(sql, Run(self.name, limit, cancel)) as rows:
            names = unique(name for name, _ in rows.columns)
            schema = pa.schema([pa.field(name, kind) for name, (_, kind) in zip(names, rows.columns, strict=True)])
            columns = [Column(field.name, _DUCKDB.get(str(field.type), "VARCHAR")) for field in schema]
            yield Stream(columns, batches(rows.rows, schema, self.name), schema)

    def close(self) -> None:
        with self._lock:
            for lake in self._lakes.values():
                lake.close()
            self._lakes.clear()
        self._finalizer()


_DUCKDB = {
    "bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "float": "FLOAT",
    "double": "DOUBLE", "date32[day]": "DATE", "timestamp[us]": "TIMESTAMP", "uint64": "UBIGINT",
}  # fmt: skip
"""DuckDB's names of Arrow's types, for the columns of a statement that DuckDB does not know."""
