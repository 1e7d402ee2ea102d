"""SQL over the lake: the views `events`, `delivery` and `files`, in an engine that can read the lake's files and nothing else.

Command line and reports ask through `Lake.query`, the page through a process of its own (`metlog.lake.engine.client`); what a query
may say is decided in `metlog.lake.sql.guard`.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from metlog.journal.folder import Folder
from metlog.lake.attached import attached
from metlog.lake.cancel import Cancel, Watch
from metlog.lake.connections import Cursors
from metlog.lake.interface import check_sizes, check_timeout
from metlog.lake.leases import reading
from metlog.lake.result import Column, Params, Queryable, Result, Stream, unique
from metlog.lake.running import FAULTS, Running, bind
from metlog.lake.snapshot import Memory, snapshot
from metlog.lake.sql.errors import EXPLAIN, explain
from metlog.lake.sql.fields import VIEW
from metlog.lake.sql.guard import VIEWS, Parsed, QueryError, expressions, parse
from metlog.lake.sql.loss import DELIVERY
from metlog.lake.sql.promoted import hidden_columns
from metlog.lake.sql.views import any_promoted, events_view, files_table, numbered
from metlog.lake.uris import is_remote, local_path

if TYPE_CHECKING:
    from metlog.lake.remote import Remote

__all__ = ["Cancel", "Column", "Lake", "QueryError", "Queryable", "Result", "Stream", "open_lake"]

_BEHIND: Final = "behind"
"""Folder beside what the engine spills, for files of what the lake is behind by."""
_FETCHED: Final = "fetched"
"""Folder beside it, for copies of files that cannot be read where they lie."""
_KNOWN: Final = 256
_REMEMBERED: Final = 4096
"""Queries whose columns are remembered, and the characters of each."""
_UNCOMMITTED_BYTES: Final = 256 << 20
"""Bytes that events of the journal may take between two queries: three segments of the usual size."""


class Lake(Queryable):
    """Reads one data folder. Safe to use from several threads; a query sees the events of the moment it starts.

    memory: limit of the engine for all queries together (`"2GB"`); what does not fit is spilled to a folder of its own,
        up to `spill`. timeout: seconds that no query may exceed. threads: of the engine, default all cores. spill_folder: a folder
        that its maker removes, instead of one of this object's own. credentials: of shared storage, in place of the environment's.

    Raises FileNotFoundError when there is no such data folder.
    """

    def __init__(
        self,
        data: Path | str,
        *,
        memory: str = "2GB",
        spill: str = "4GB",
        timeout: float | None = None,
        threads: int | None = None,
        spill_folder: Path | str | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        self.data = Path(data).resolve()
        if not self.data.is_dir():
            raise FileNotFoundError(f"there is no data folder {str(self.data)!r}")
        check_sizes(memory=memory, spill=spill)
        check_timeout(timeout)
        self.timeout = timeout
        folder = str(spill_folder) if spill_folder is not None else tempfile.mkdtemp(prefix="metlog-query-")
        own = spill_folder is None
        self._finalizer = weakref.finalize(self, rmtree, folder, ignore_errors=True) if own else lambda: None
        config: dict[str, Any] = {
            "memory_limit": memory,
            "temp_directory": folder,
            "max_temp_directory_size": spill,
            "python_enable_replacements": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_persistent_secrets": False,
            "errors_as_json": True,
        }
        if threads is not None:
            config["threads"] = threads
        if timeout is not None:
            # Behind the watch, which knows the reason: a connection's own setting would not reach its cursors.
            config["max_execution_time"] = int(timeout * 1000) + 2000
        self._fetched = Path(folder, _FETCHED)
        self._remote = self._elsewhere(credentials)
        self._connection = duckdb.connect(":memory:", config=config)
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        self._connection.execute(
            "SET GLOBAL allowed_directories = $1::VARCHAR[]",
            [[*self._folders, f"{folder}/{_BEHIND}/", f"{folder}/{_FETCHED}/"]],
        )
        self._connection.execute("SET GLOBAL enable_external_access = false")
        self._connection.execute(
            "SET GLOBAL allowed_configs = ['enable_progress_bar', 'enable_progress_bar_print']"  # of a cursor, see Cursors
        )
        self._connection.execute("SET GLOBAL lock_configuration = true")
        self._cursors = Cursors(self._connection)
        self._columns: dict[tuple[str, tuple[object, ...]], list[Column]] = {}
        """Of queries that were asked before, since the views have the same columns always."""
        self._memory = Memory(_UNCOMMITTED_BYTES, Path(folder, _BEHIND), self._remote)

    def _elsewhere(self, credentials: Mapping[str, str] | None) -> Remote | None:
        """The data set on shared storage, if it lies there; `_folders` are those that the engine may read."""
        self._folders = [f"{self.data}/events/"]
        with Folder.root(self.data) as root:
            where = attached(root)
        if is_remote(where):
            from metlog.lake.remote import Remote

            return Remote(where, credentials)
        if where:
            path = local_path(where).resolve()
            if not path.is_dir():
                raise FileNotFoundError(
                    f"there is no data set {where!r}, where the events of {self.data} are (its lake.json says so): mount it, or"
                    " start the listener with its new place"
                )
            self._folders.append(f"{path}/events/")
        return None

    def close(self) -> None:
        """Closes the engine and removes what it spilled."""
        self._cursors.close()
        self._connection.close()
        self._finalizer()

    def abandon(self) -> None:
        """Removes what was spilled without waiting for queries that run: for a process that ends at once."""
        self._finalizer()

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        check_timeout(timeout)
        limits = [value for value in (timeout, self.timeout) if value is not None]
        parsed = parse(sql)
        ran = parsed.sql
        watch = Watch(min(limits, default=None), cancel)
        try:
            with watch, reading(self.data):
                # What follows touches the engine and may be interrupted; each error is told in the same words.
                try:
                    views, tables = self._views(parsed, params, loggers, watch)
                    cursor = watch.cursor = self._cursors.take(views, tables)
                    columns, relation, ran = self._bound(cursor, sql, parsed, params, promoted=VIEW in views)
                    running = Running(cursor, sql, params, columns, (relation, ran), watch)
                except (*FAULTS, TypeError) as error:  # of a type: a value that is none of the engine's
                    told = _placed(watch.cursor, sql, params, error)
                    raise explain(told, sql, ran, watch.reason, watch.timeout) from error
                yield Stream(columns, running.batches(), running.schema)
        finally:
            if watch.finished:
                self._cursors.give_back(cursor, views, tables)
            elif watch.cursor is not None:
                watch.cursor.close()

    def _bound(
        self, cursor: duckdb.DuckDBPyConnection, sql: str, parsed: Parsed, params: Params, *, promoted: bool
    ) -> tuple[list[Column], duckdb.DuckDBPyRelation, str]:
        """The columns of the result as the query was written, what is to run, and its SQL: over promoted columns, or else with its
        conditions on `date`, or else as written."""
        key = _types_of(params)
        columns = self._columns.get((sql, key)) if key is not None else None
        relation = None
        if columns is None:
            relation = bind(cursor, sql, params)
            columns = [Column(n, str(t)) for n, t in zip(unique(relation.columns), relation.types, strict=True)]
            if key is not None and len(sql) <= _REMEMBERED:
                if len(self._columns) >= _KNOWN:
                    self._columns.clear()
                self._columns[sql, key] = columns
        if promoted and parsed.promotable is not None:
            values = {name: value for name, value in _by_name(params).items() if name in parsed.promotable.parameters}
            try:
                found = bind(cursor, parsed.promotable.sql, values)
            except duckdb.Error:  # such as a name that this form of it lacks: then as it was written
                found = None
            if found is not None and [str(kind) for kind in found.types] == [column.type for column in columns]:
                return [*columns], found, parsed.promotable.sql
        if relation is None or parsed.rewritten:
            relation = bind(cursor, parsed.sql, params)
        return [*columns], relation, parsed.sql

    def _views(
        self, parsed: Parsed, params: Params, loggers: Sequence[str] | None, watch: Watch
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """The views that the query needs, of the days that it can ask for, with their SQL; and the tables behind them."""
        if parsed.tables.isdisjoint(VIEWS):
            return {}, {}
        if loggers is not None and "files" in parsed.tables:
            raise QueryError("the view `files` is not for those who see some services only", "refused")
        since, until = self._days(parsed, params)
        files, backlog_files, remote_files, uncommitted = snapshot(
            self.data, since_date=since, until_date=until, memory=self._memory, check=watch.check
        )
        if self._remote is not None and self._remote.fetches and remote_files:
            files = sorted([*files, *self._remote.fetch(remote_files, self._fetched)])
            remote_files = []
        arrivals = "arrivals" in parsed.tables
        tables: dict[str, Any] = {}
        readable = sorted([*files, *backlog_files]) if backlog_files else files
        far = "metlog_remote" if remote_files else ""
        if self._remote is not None and far:
            tables["metlog_remote"] = self._remote.dataset(remote_files)
        if uncommitted.num_rows or not (readable or far):
            tables["metlog_fresh"] = numbered(uncommitted) if arrivals else uncommitted
        if loggers is not None:
            tables["metlog_loggers"] = pa.table({"logger": pa.array(list(loggers), pa.string())})
        if "files" in parsed.tables:
            sizes = self._remote.sizes(remote_files) if self._remote is not None else []
            tables["files"] = files_table(self.data, files, sizes)
        some = uncommitted.num_rows > 0
        limited = loggers is not None
        views = {"events": events_view(readable, some, limited=limited, remote=[(far, {})] if far else ())}
        hidden = hidden_columns(parsed.promotable.wanted, _by_name(params)) if parsed.promotable is not None else None
        if hidden is not None:
            names = {column.name for column in hidden}
            groups = self._remote.promoted(remote_files, names) if self._remote is not None else []
            if any(promoted for promoted, _ in groups) or any_promoted(readable, names):
                remote = [(f"metlog_remote_{number}", promoted) for number, (promoted, _) in enumerate(groups)]
                tables |= {name: dataset for (name, _), (_, dataset) in zip(remote, groups, strict=True)}
                views[VIEW] = events_view(readable, some, limited=limited, remote=remote, hidden=hidden)
        if arrivals:
            if self._remote is not None and far:
                tables["metlog_arrived"] = self._remote.arrivals(remote_files)
                far = "metlog_arrived"
            views["arrivals"] = events_view(
                readable, some, limited=limited, arrivals=True, remote=[(far, {})] if far else ()
            )
        if "delivery" in parsed.tables:
            views["delivery"] = DELIVERY
        return views, tables

    def _days(self, parsed: Parsed, params: Params) -> tuple[date | None, date | None]:
        """The days outside of which nothing is asked for: other folders are not even listed."""
        if "delivery" in parsed.tables or not parsed.days or not all(parsed.days):
            return None, None
        spans = [self._span(reference, _by_name(params)) for reference in parsed.days]
        lows, highs = [low for low, _ in spans if low], [high for _, high in spans if high]
        since = min(lows) if len(lows) == len(spans) else None
        # A query that runs past midnight asks for one day more than it did when it was read.
        until = max(highs) + timedelta(days=1) if len(highs) == len(spans) else None
        return since, until

    def _span(self, bounds: Sequence[Any], values: Mapping[str, Any]) -> tuple[date | None, date | None]:
        low: date | None = None
        high: date | None = None
        days = self._values([bound.tree for bound in bounds], values)
        for bound, day in zip(bounds, days, strict=True):
            if not isinstance(day, date):  # NULL, or infinity
                continue
            if bound.op in {">=", "="}:
                low = day if low is None else max(low, day)
            if bound.op in {"<=", "="}:
                high = day if high is None else min(high, day)
        return low, min(high, date.max - timedelta(days=1)) if high else None

    def _values(self, trees: Sequence[Any], values: Mapping[str, Any]) -> Sequence[Any]:
        """The values of expressions, asked together; None for one that fails."""
        try:
            return self._connection.cursor().execute(*expressions(trees, values)).fetchone() or ()
        except duckdb.Error:  # the query itself will say what is wrong with this value
            if len(trees) == 1:
                return [None]
            middle = len(trees) // 2
            return [*self._values(trees[:middle], values), *self._values(trees[middle:], values)]


def open_lake(data: Path | str, **options: Any) -> Lake:
    """`Lake(data, **options)`."""
    return Lake(data, **options)


def _by_name(params: Params) -> dict[str, Any]:
    """The values of parameters; those without a name are called 1, 2, …, as DuckDB calls them."""
    return dict(params) if isinstance(params, Mapping) else {str(n): v for n, v in enumerate(params or (), 1)}


def _types_of(params: Params) -> tuple[object, ...] | None:
    """What the types of the values are to DuckDB; None when it takes a look at them to say."""
    found: list[object] = []
    for name, value in _by_name(params).items():
        if isinstance(value, bool | str | float | date | None) and not isinstance(value, datetime):
            found += [name, type(value)]
        elif isinstance(value, datetime):
            found += [name, datetime, value.tzinfo is None]
        elif isinstance(value, int) and value.bit_length() < 32:
            found += [name, int]
        else:
            return None
    return tuple(found)


def _placed(cursor: duckdb.DuckDBPyConnection | None, sql: str, params: Params, error: Exception) -> Exception:
    """The same error with the place of the mistake, which binding a relation does not tell and EXPLAIN does."""
    if cursor is None or not isinstance(error, (duckdb.BinderException, duckdb.CatalogException)):
        return error
    try:
        cursor.execute(EXPLAIN + sql, dict(params) if isinstance(params, Mapping) else list(params or ()))
    except duckdb.Error as told:
        return told
    return error
