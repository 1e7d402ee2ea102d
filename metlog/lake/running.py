"""A query that runs: its batches, and what is done where a rewritten form of it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import duckdb
import pyarrow as pa

from metlog.lake.cancel import Watch
from metlog.lake.result import Params
from metlog.lake.sql.errors import explain, is_of_values
from metlog.lake.sql.guard import QueryError
from metlog.lake.sqltypes import carried, type_named
from metlog.lake.values import Column

__all__ = ["FAULTS", "Running", "bind"]

FAULTS: Final = (duckdb.Error, pa.ArrowException, OSError, RuntimeError, MemoryError)
"""What the engine raises while it runs a query."""
_BATCH: Final = (
    2048  # rows in a batch of a streamed result: long texts of more would not fit into one of Arrow's arrays
)
_SEARCH: Final = 5.0
"""Seconds to look for the place of an error, once rows were given."""


class Running:
    """A query on a cursor, which runs in a form of it: what is to run, and its SQL. Where a value stops a form that is not the query
    as written, the query runs as written: there the value may be no fault, and if it is one its place is known.

    Raises QueryError."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        sql: str,
        params: Params,
        columns: Sequence[Column],
        form: tuple[duckdb.DuckDBPyRelation, str],
        watch: Watch,
    ) -> None:
        self._cursor, self._sql, self._params, self._columns, self._watch = cursor, sql, params, columns, watch
        relation, self._ran = form
        try:
            self._reader = self._first(relation)
        except FAULTS as error:
            raise self._told(error) from error
        self.schema = pa.schema(
            [field.with_name(column.name) for field, column in zip(self._reader.schema, columns, strict=True)]
        )
        """The engine's, under the names that the query as written gives; a rewritten one may spell them differently."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The result; raises QueryError."""
        given = False
        try:
            try:
                for batch in self._reader:
                    given = True
                    yield self._named(batch)
            except FAULTS as error:
                if not self._may_be_the_form(error):
                    raise
                if given:
                    self._search()
                    raise
                for batch in self._as_written():
                    yield self._named(batch)
        except FAULTS as error:
            raise self._told(error) from error
        self._watch.finished = True

    def _first(self, relation: duckdb.DuckDBPyRelation) -> pa.RecordBatchReader:
        try:
            return self._begun(relation)
        except FAULTS as error:
            if not self._may_be_the_form(error):
                raise
        return self._as_written()

    def _told(self, error: Exception) -> QueryError:
        return explain(error, self._sql, self._ran, self._watch.reason, self._watch.timeout)

    def _may_be_the_form(self, error: Exception) -> bool:
        return self._ran != self._sql and self._watch.reason is None and is_of_values(error)

    def _as_written(self) -> pa.RecordBatchReader:
        relation = bind(self._cursor, self._sql, self._params)
        self._ran = self._sql
        return self._begun(relation)

    def _search(self) -> None:
        """Raises the error that the query has as written, if there is one and it is found in time."""
        form = self._ran
        with Watch(_SEARCH, None) as search:
            search.cursor = self._cursor
            try:
                for _ in self._as_written():
                    pass
            except FAULTS as error:
                if is_of_values(error):
                    raise
        self._ran = form

    def _begun(self, relation: duckdb.DuckDBPyRelation) -> pa.RecordBatchReader:
        return _carried(relation, self._columns).to_arrow_reader(_BATCH)

    def _named(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)


def bind(cursor: duckdb.DuckDBPyConnection, sql: str, params: Params) -> duckdb.DuckDBPyRelation:
    """The query with its values, not run yet. Raises QueryError, duckdb.Error."""
    given = dict(params) if isinstance(params, Mapping) else list(params or ())
    relation = cursor.sql(sql, params=given or None)
    if relation is None:  # a SELECT gives a relation
        raise QueryError("the query gives no result", "refused")
    return relation


def _carried(relation: duckdb.DuckDBPyRelation, columns: Sequence[Column]) -> duckdb.DuckDBPyRelation:
    """The relation with casts of the columns that Arrow would not carry as they are; the order of rows stays."""
    shown = []
    for number, column in enumerate(columns, 1):
        kind = type_named(column.type)
        to = carried(kind)
        shown.append(f"#{number}" if to == kind else f"CAST(#{number} AS {to})")
    changed = any("(" in text for text in shown)
    return relation.project(", ".join(shown)) if changed else relation
