"""The lake asked through an engine in a process of its own, so that no query can take the asker's memory or go on for ever.

DuckDB counts what its operators take and looks for an interrupt between chunks of rows; a single call of a function, such as `range(…)`
or `printf`, does neither. So the engine's process has limits of the operating system, and is ended and started again when a query
has not let go some seconds after its time or its asker's patience was over. Other queries of that moment are asked again.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from metlog.lake import frames
from metlog.lake.frames import BATCH, DONE, ERROR, HEAD, Head, Setup, Told
from metlog.lake.result import Column, Params, Queryable, Stream
from metlog.lake.sql import QueryError
from metlog.lake.watch import Cancel

__all__ = ["GuardedLake"]

_GRACE: Final = 2.0
"""Seconds that an engine has to let go of a query that is to end; then it is ended itself."""
_START: Final = 60.0
"""Seconds in which an engine must have started."""
_TURN: Final = 0.1
"""Seconds between two looks at whether a query was cancelled."""
_KEPT: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PYTHONPATH",
    "PYTHONHOME",
    "LD_LIBRARY_PATH",
    "COVERAGE_PROCESS_START",
)
"""What the engine sees of the environment: no tokens."""


class _Engine:
    """One process, and why it was ended if it was by us."""

    def __init__(self, setup: Setup) -> None:
        self.folder = tempfile.mkdtemp(prefix="metlog-engine-")
        self.ended_for: object | None = None
        here, there = socket.socketpair()
        with there:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "metlog.lake.engine", str(there.fileno())],
                pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
            )  # fmt: skip
        self._control = here
        self._lock = threading.Lock()
        here.settimeout(_START)
        try:
            frames.send(here, HEAD, msgspec.msgpack.encode(msgspec.structs.replace(setup, spill_folder=self.folder)))
            frames.receive(frames.exactly(here))
        except (OSError, EOFError, ValueError):
            self.end(None)
            raise QueryError("the query engine does not start; the log has what it said", "failed") from None

    @property
    def alive(self) -> bool:
        return self.ended_for is None and self.process.poll() is None

    def ask(self, content: bytes) -> socket.socket:
        """A socket with the answer to a query. Raises OSError when the process is gone."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [b"q"], [theirs.fileno()])
            frames.send(ours, HEAD, content)
        except BaseException:
            ours.close()
            raise
        return ours

    def end(self, reason: object) -> None:
        """Ends the process at once, and removes what it spilled."""
        with self._lock:
            self.ended_for = reason if self.ended_for is None else self.ended_for
            self._control.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class GuardedLake(Queryable):
    """As `Lake`, with the same options, in a process that is started at the first query and again whenever it has ended.

    headroom: bytes that the process may take beyond `memory`. Raises FileNotFoundError when there is no such data folder.
    """

    def __init__(
        self,
        data: Path | str,
        *,
        memory: str = "2GB",
        spill: str = "4GB",
        timeout: float | None = None,
        threads: int | None = None,
        headroom: int = 1 << 30,
    ) -> None:
        self.data = Path(data).resolve()
        if not self.data.is_dir():
            raise FileNotFoundError(f"there is no data folder {str(self.data)!r}")
        self.timeout = timeout
        self.restarts = 0
        """How often an engine had to be started again."""
        self._setup = Setup(str(self.data), memory, spill, timeout, threads, headroom)
        self._engine: _Engine | None = None
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Starts the engine, so that the first query need not wait for it. Raises QueryError."""
        self._ready()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.end(self)

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
        content = frames.asked(sql, params, timeout, loggers)
        limit = min((value for value in (timeout, self.timeout) if value is not None), default=None)
        for last in (False, True):
            engine = self._ready()
            question = _Question(engine, limit, cancel)
            try:
                sock = engine.ask(content)
            except OSError:
                engine.end(self)
                if last or self._closed:
                    raise self._gone(engine) from None
                continue
            with sock:
                try:
                    head = question.head(sock)
                except EOFError:
                    if last or self._closed or engine.ended_for is None:
                        raise self._gone(engine) from None
                    continue  # it was ended for another query, which had not let go
                schema = pa.ipc.read_schema(pa.py_buffer(head.schema))
                yield Stream([Column(*pair) for pair in head.columns], self._batches(question, sock), schema)
                return

    def _batches(self, question: _Question, sock: socket.socket) -> Iterator[pa.RecordBatch]:
        try:
            yield from question.batches(sock)
        except EOFError:
            raise self._gone(question.engine) from None

    def _ready(self) -> _Engine:
        with self._lock:
            if self._closed:
                raise QueryError("the page is being ended", "cancelled")
            if self._engine is None or not self._engine.alive:
                if self._engine is not None:
                    self._engine.end(self)
                    self.restarts += 1
                self._engine = _Engine(self._setup)
            return self._engine

    def _gone(self, engine: _Engine) -> QueryError:
        """What to tell of a query whose engine is gone."""
        if self._closed:
            return QueryError("the query was cancelled", "cancelled")
        if engine.ended_for is not None:
            return QueryError("the query engine was started again because of another query; ask again", "failed")
        with contextlib.suppress(subprocess.TimeoutExpired):
            engine.process.wait(_GRACE)
        status = engine.process.returncode
        name = signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"
        return QueryError(
            f"the query engine ended while this query ran ({name}), most likely for want of memory; ask for fewer days, rows or"
            " columns",
            "memory",
        )


class _Question:
    """One query's wait for its answer, and the end of its patience."""

    def __init__(self, engine: _Engine, limit: float | None, cancel: Cancel | None) -> None:
        self.engine = engine
        self._limit = limit
        self._cancel = cancel
        # The engine keeps the limit itself; this is for a query that does not let go.
        self._until = None if limit is None else time.monotonic() + limit + _GRACE
        self._told = False

    def head(self, sock: socket.socket) -> Head:
        kind, content = self._next(sock)
        if kind != HEAD:
            raise self._error(kind, content)
        return msgspec.msgpack.decode(content, type=Head)

    def batches(self, sock: socket.socket) -> Iterator[pa.RecordBatch]:
        while True:
            kind, content = self._next(sock)
            if kind == DONE:
                return
            if kind != BATCH:
                raise self._error(kind, content)
            yield from frames.batch_of(content)

    def _next(self, sock: socket.socket) -> tuple[bytes, bytes]:
        try:
            return frames.receive(frames.exactly(sock, lambda: self._wait(sock)))
        except ConnectionError:
            raise EOFError from None
        except ValueError as error:
            self.engine.end(self)
            raise QueryError(f"the query engine answered nonsense: {error}", "failed") from None

    def _wait(self, sock: socket.socket) -> None:
        """Until something can be read, or the patience is over."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while not poll.poll(_TURN * 1000):
            if self._cancel is not None and self._cancel.cancelled and not self._told:
                self._told = True
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)  # the engine sees that nobody waits
                self._until = min(self._until or float("inf"), time.monotonic() + _GRACE)
            if self._until is not None and time.monotonic() > self._until:
                self.engine.end(self)
                if self._told:
                    raise QueryError("the query was cancelled", "cancelled")
                raise QueryError(
                    f"the query took longer than the limit of {self._limit:g} s; ask for fewer days or columns",
                    "timeout",
                )

    def _error(self, kind: bytes, content: bytes) -> QueryError:
        if kind != ERROR:
            self.engine.end(self)
            return QueryError("the query engine answered out of turn", "failed")
        told = msgspec.msgpack.decode(content, type=Told)
        return QueryError.placed(told.message, told.kind, told.line, told.column)
