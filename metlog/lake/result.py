"""What a query gives, and who can be asked: this process, or an engine of its own."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from metlog.lake.cancel import Cancel
from metlog.lake.cells import python_values
from metlog.lake.sql.guard import QueryError
from metlog.lake.values import Column

__all__ = ["Column", "Params", "Queryable", "Result", "Stream", "collected", "unique"]

Params = Mapping[str, Any] | Sequence[Any] | None


@dataclass(slots=True)
class Stream:
    """A result that is read as the engine makes it."""

    columns: list[Column]
    batches: Iterator[pa.RecordBatch]
    schema: pa.Schema


@dataclass
class Result:
    """A whole result. `truncated`: there were more rows than `limit`; `ms`: milliseconds until the last row was there."""

    columns: list[Column]
    arrow: pa.Table
    truncated: bool
    ms: float

    @cached_property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as Python values; times are aware datetimes in UTC, and text where Python has no such value."""
        if not self.columns:
            return []
        types = [column.type for column in self.columns]
        return list(zip(*map(python_values, self.arrow.columns, types), strict=True))

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def unique(names: Iterable[str]) -> list[str]:
    """Names of columns, each once: of two that are equal but for capitals the second gets a number, as DuckDB names them in a subquery."""
    taken: set[str] = set()
    found = []
    for name in names:
        free, number = name, 0
        while free.lower() in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free.lower())
        found.append(free)
    return found


def collected(
    stream: Stream, limit: int | None = None, max_bytes: int = 512 * 1024 * 1024, began: float | None = None
) -> Result:
    """At most `limit` rows of a stream, in memory. began: `time.perf_counter()` at its beginning. Raises QueryError above `max_bytes`."""
    began = time.perf_counter() if began is None else began
    kept: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in stream.batches:
        kept.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if size > max_bytes:
            raise QueryError(
                f"the result is larger than {max_bytes >> 20} MiB; ask for fewer rows or columns", "memory"
            )
        if limit is not None and rows > limit:
            break
    table = pa.Table.from_batches(kept, schema=stream.schema)
    truncated = limit is not None and rows > limit
    if truncated:
        table = table.slice(0, limit)
    return Result(stream.columns, table, truncated, (time.perf_counter() - began) * 1000)


class Queryable(ABC):
    """An engine (`metlog.lake.interface.Engine`) that makes results batch by batch: `query` and `columns` come with it."""

    name: str = "duckdb"
    slow: bool = False

    def raw(
        self, sql: str, *, timeout: float | None = None, cancel: Cancel | None = None
    ) -> AbstractContextManager[Stream]:
        """A statement in the engine's own words; for DuckDB these are the ones that are checked, so that there is no other way."""
        return self.stream(sql, timeout=timeout, cancel=cancel)

    @abstractmethod
    def stream(
        self,
        sql: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        loggers: Sequence[str] | None = None,
        cancel: Cancel | None = None,
    ) -> AbstractContextManager[Stream]:
        """As `query`, for a result of any size: batches are made while they are read, inside the `with` block."""

    def start(self) -> None:
        """Makes ready for the first query, which need not wait for it then. Raises QueryError."""
        return

    @abstractmethod
    def close(self) -> None:
        """Ends what runs, and removes what was spilled."""

    def query(
        self,
        sql: str,
        params: Params = None,
        *,
        limit: int | None = None,
        timeout: float | None = None,
        loggers: Sequence[str] | None = None,
        cancel: Cancel | None = None,
        max_bytes: int = 512 * 1024 * 1024,
    ) -> Result:
        """Runs one SELECT and gives at most `limit` rows.

        params: values of `$name` (a mapping) or `?` (a sequence). timeout: seconds, no more than the lake's own.
        loggers: when given, only events of these services can be seen. max_bytes: of a result held in memory.

        Raises QueryError; its `kind` says what is at fault.
        """
        try:
            return self._query(sql, params, limit, timeout, loggers, cancel, max_bytes)
        except QueryError as error:
            if "No such file" not in str(error):
                raise
        # A file was removed by retention between the look at the folder and its reading: look again.
        return self._query(sql, params, limit, timeout, loggers, cancel, max_bytes)

    def _query(
        self,
        sql: str,
        params: Params,
        limit: int | None,
        timeout: float | None,
        loggers: Sequence[str] | None,
        cancel: Cancel | None,
        max_bytes: int,
    ) -> Result:
        began = time.perf_counter()
        with self.stream(sql, params, timeout=timeout, loggers=loggers, cancel=cancel) as stream:
            return collected(stream, limit, max_bytes, began)

    def columns(self, view: str = "events") -> list[Column]:
        """The columns of a view."""
        return self.query(f"SELECT * FROM {view} LIMIT 0").columns  # noqa: S608  # `parse` takes only the known views
