"""What an engine is: SQL over the view `events` in, columns and rows in Arrow out. `metlog.engines` finds them by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, runtime_checkable

from metlog.errors import ConfigError
from metlog.lake.cancel import Cancel, Progress
from metlog.lake.result import Params, Result, Stream
from metlog.plugins.conversion import MOST_SECONDS

__all__ = ["Cancel", "Engine", "Params", "Progress", "Result", "Stream", "check_sizes", "check_timeout"]

_SIZE: Final = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B|B|bytes?|%)", re.IGNORECASE)


def check_sizes(**sizes: str) -> None:
    """Raises ConfigError for what DuckDB takes for no size."""
    for name, text in sizes.items():
        if not _SIZE.fullmatch(text.strip()):
            raise ConfigError(f'{name} = {text!r}: wants a number and KB, MB, GB, KiB, MiB or GiB, as "2GB"')


def check_timeout(timeout: float | None) -> None:
    """Raises ConfigError for seconds that no query can be given."""
    if timeout is not None and not 0 < timeout <= MOST_SECONDS:
        raise ConfigError(f"timeout = {timeout!r}: wants more than 0 seconds, {MOST_SECONDS} at most")


@runtime_checkable
class Engine(Protocol):
    """Answers SELECTs, written in DuckDB's SQL, over the views `events`, `arrivals`, `delivery` and `files`.

    An engine is registered under the entry-point group `metlog.engines`, by the scheme of its URL: `trino://host:8080/hive.metlog`
    loads the entry point `trino` and calls it with `host`, `port`, `path` and the query's options as keyword arguments, and with those of
    `data` (the data folder, or None), `timeout` (seconds), `queries` (how many at once) and `isolated` (True on the page) that it takes.

    The shortest way to one is `metlog.engines.base.TranslatedEngine`, which translates, asks DuckDB for the types of the result, limits
    what may be seen, and makes Arrow of rows; it leaves to its heirs a dialect and how a statement is run::

        class Trino(TranslatedEngine):
            name, dialect = "trino", TRINO                       # a metlog.engines.dialects.Dialect

            def __init__(self, *, host: str, port: int = 8080, path: str = "", timeout: float | None = None) -> None:
                super().__init__(Sources({"events": "hive.metlog.events"}), timeout=timeout)
                self._connect = partial(trino.dbapi.connect, host=host, port=port)

            @contextmanager
            def run(self, sql: str, run: Run) -> Iterator[Rows]:
                with closing(self._connect()) as connection:
                    cursor = connection.cursor()
                    cursor.execute(sql)
                    yield Rows(cursor.description, iter(partial(cursor.fetchmany, 10_000), []))
    """

    name: str
    """As in the entry point, for messages and the page."""
    slow: bool
    """Whether a query takes seconds: the page then shows how far it is, and keeps results for longer."""

    def stream(
        self,
        sql: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        loggers: Sequence[str] | None = None,
        cancel: Cancel | None = None,
    ) -> AbstractContextManager[Stream]:
        """A result of any size: batches are made while they are read, inside the `with` block.

        params: values of `$name` (a mapping) or `?` (a sequence). timeout: seconds, no more than the engine's own. loggers: when given,
        only events of these services can be seen; an engine that cannot promise that refuses. cancel: ends the query in the engine,
        too; its `progress` is set where the engine tells how far it is.

        Raises QueryError; its `kind` says what is at fault, `unsupported` when the engine lacks a construct.
        """

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
        """At most `limit` rows of at most `max_bytes` in memory. Raises QueryError."""

    def raw(
        self, sql: str, *, timeout: float | None = None, cancel: Cancel | None = None
    ) -> AbstractContextManager[Stream]:
        """A statement in the engine's own words, sent as it is: nothing is checked, translated or limited to services."""

    def close(self) -> None:
        """Ends what runs, and lets go of connections."""
