"""Runs queries in a separate, resource-limited process, so that none can exhaust this one's memory or run forever.

DuckDB counts what its operators take and looks for an interrupt between chunks of rows; a single call of a function, such as `range(…)`
or `printf`, does neither. So the engine's process has limits of the operating system, and is ended and started again when a query
has not let go some seconds after its time or its client gave up. Other queries of that moment are asked again.
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
from typing import Any, Final

import msgspec
import pyarrow as pa

from metlog.journal.folder import Folder
from metlog.lake.attached import attached
from metlog.lake.cancel import Cancel, Progress
from metlog.lake.engine import protocol
from metlog.lake.engine.protocol import BATCH, DONE, ERROR, EXIT_RECYCLE, HEAD, PROGRESS, ErrorMessage, Head, Setup
from metlog.lake.interface import check_sizes
from metlog.lake.result import Column, Params, Queryable, Result, Stream
from metlog.lake.sql.guard import QueryError
from metlog.lake.storage import environment
from metlog.lake.uris import is_remote

__all__ = ["GuardedLake"]

_GRACE: Final = 2.0
"""Seconds that an engine has to let go of a query that is to end; then it is ended itself."""
_START: Final = 60.0
"""Seconds in which an engine must have started."""
_HEARD: Final = 10.0
"""Seconds in which an engine must have taken a query from its socket."""
_TURN: Final = 0.1
"""Seconds between two looks at whether a query was cancelled."""
_THREADS: Final = 32 << 20
"""Bytes for the threads of a query."""
_ATTEMPTS: Final = 3
"""How often a query is asked when engines end for other reasons than itself."""
_KEPT: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PYTHONHOME",
    "LD_LIBRARY_PATH",
    "COVERAGE_PROCESS_START",
)
"""What the engine sees of the environment: no tokens."""
_ALLOCATORS: Final = {"DUCKDB_JE_MALLOC_CONF": "retain:false", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Memory that is free goes back to the operating system: its limit would count what an allocator keeps for later."""


def _environment() -> dict[str, str]:
    # Modules come from where this process has them, and with -P from nowhere else.
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | _ALLOCATORS | {"PYTHONPATH": path}


class _Engine:
    """One process."""

    def __init__(self, setup: Setup) -> None:
        self.ended = False
        """By us, whatever it was doing."""
        self._lock = threading.Lock()
        self.folder = tempfile.mkdtemp(prefix="metlog-engine-")
        try:
            self._control, there = socket.socketpair()
            with there:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "metlog.lake.engine", str(there.fileno())],
                    pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                    env=_environment(),
                )  # fmt: skip
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise QueryError(f"the query engine cannot be started: {error.strerror or error}", "failed") from error
        self._control.settimeout(_START)
        try:
            setup = msgspec.structs.replace(setup, spill_folder=self.folder)
            protocol.send(self._control, HEAD, msgspec.msgpack.encode(setup))
            kind, content = protocol.receive(protocol.exactly(self._control))
        except (OSError, EOFError, ValueError):
            self.end()
            raise QueryError("the query engine does not start; the log has what it said", "failed") from None
        if kind == ERROR:
            self.end()
            told = msgspec.msgpack.decode(content, type=ErrorMessage)
            raise QueryError(f"the query engine does not start: {told.message}", told.kind)

    @property
    def alive(self) -> bool:
        return not self.ended and self.process.poll() is None

    def ask(self, content: bytes) -> socket.socket:
        """A socket with the answer to a query. Raises OSError when the process is gone, or does not listen."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [b"q"], [theirs.fileno()])
            ours.settimeout(_HEARD)
            protocol.send(ours, HEAD, content)
            ours.settimeout(None)
        except BaseException:
            ours.close()
            raise
        return ours

    def end(self) -> None:
        """Ends the process at once, and removes what it spilled."""
        self.ended = True
        self.process.kill()
        self.process.wait()
        with self._lock:
            self._control.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def blameless(self) -> bool:
        """Whether the process ended for something else than the queries that it was answering."""
        if not self.ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE)
        return self.ended or self.process.returncode == EXIT_RECYCLE


class _Lost(QueryError):
    """The answer broke off for a reason that lies elsewhere: ask again."""


class GuardedLake(Queryable):
    """As `Lake`, with the same options, in a process that is started at the first query and again whenever it has ended.

    queries: how many are answered at once; more of them wait, and their time begins when they are asked. headroom: bytes that the
    process may take beyond `memory` and what each query needs for its threads. Raises FileNotFoundError when there is no such
    data folder.
    """

    def __init__(
        self,
        data: Path | str,
        *,
        memory: str = "2GB",
        spill: str = "4GB",
        timeout: float | None = None,
        threads: int | None = None,
        queries: int = 4,
        headroom: int = 1 << 30,
    ) -> None:
        self.data = Path(data).resolve()
        if not self.data.is_dir():
            raise FileNotFoundError(f"there is no data folder {str(self.data)!r}")
        check_sizes(memory=memory, spill=spill)
        self.timeout = timeout
        self.restarts = 0
        """How often an engine had to be started again."""
        with Folder.root(self.data) as root:
            credentials = environment() if is_remote(attached(root)) else {}
        self._setup = Setup(
            str(self.data), memory, spill, timeout, threads, headroom + queries * _THREADS, credentials=credentials
        )
        self._turns = threading.BoundedSemaphore(queries)
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
            engine.end()

    def query(self, sql: str, params: Params = None, **options: Any) -> Result:
        try:
            return super().query(sql, params, **options)
        except _Lost:  # in the middle of its rows
            return super().query(sql, params, **options)

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
        content = protocol.encode_request(sql, params, timeout, loggers)
        limit = min((value for value in (timeout, self.timeout) if value is not None), default=None)
        with self._turn(cancel):
            for _ in range(_ATTEMPTS):
                engine = self._ready()
                question = _Question(engine, limit, cancel)
                try:
                    sock = engine.ask(content)
                except OSError:
                    if engine.alive:  # it does not listen
                        engine.end()
                    continue
                with sock:
                    try:
                        head = question.head(sock)
                    except EOFError:
                        self._check(engine)
                        continue
                    schema = pa.ipc.read_schema(pa.py_buffer(head.schema))
                    yield Stream([Column(*pair) for pair in head.columns], self._batches(question, sock), schema)
                    return
        raise QueryError("the query engine ended again and again; the log has what it said", "failed")

    @contextmanager
    def _turn(self, cancel: Cancel | None) -> Iterator[None]:
        while not self._turns.acquire(timeout=_TURN):
            if cancel is not None and cancel.cancelled:
                raise QueryError("the query was cancelled", "cancelled")
        try:
            yield
        finally:
            self._turns.release()

    def _batches(self, question: _Question, sock: socket.socket) -> Iterator[pa.RecordBatch]:
        try:
            yield from question.batches(sock)
        except EOFError:
            self._check(question.engine)
            raise _Lost("the query engine was started again because of another query; ask again", "failed") from None

    def _ready(self) -> _Engine:
        with self._lock:
            if self._closed:
                raise QueryError("the page is being ended", "cancelled")
            if self._engine is None or not self._engine.alive:
                if self._engine is not None:
                    self._engine.end()
                    self.restarts += 1
                    self._engine = None
                self._engine = _Engine(self._setup)
            return self._engine

    def _check(self, engine: _Engine) -> None:
        """Raises QueryError when an answer that broke off is not to be asked for again."""
        if self._closed:
            raise QueryError("the query was cancelled", "cancelled") from None
        if engine.blameless():
            return
        status = engine.process.returncode
        name = signal.Signals(-status).name if status is not None and status < 0 else f"status {status}"
        raise QueryError(
            f"the query engine ended while this query ran ({name}), most likely for want of memory; ask for fewer days, rows or"
            " columns",
            "memory",
        ) from None


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
            yield from protocol.batch_of(content)

    def _next(self, sock: socket.socket) -> tuple[bytes, bytes]:
        try:
            while True:
                kind, content = protocol.receive(protocol.exactly(sock, lambda: self._wait(sock)))
                if kind != PROGRESS:
                    return kind, content
                share = float(content)
                if self._cancel is not None:
                    self._cancel.tell(Progress(f"{100 * share:.0f} % read", share))
        except ConnectionError:
            raise EOFError from None
        except ValueError as error:
            self.engine.end()
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
                self.engine.end()
                if self._told:
                    raise QueryError("the query was cancelled", "cancelled")
                raise QueryError(
                    f"the query took longer than the limit of {self._limit:g} s; ask for fewer days or columns",
                    "timeout",
                )

    def _error(self, kind: bytes, content: bytes) -> QueryError:
        if kind != ERROR:
            self.engine.end()
            return QueryError("the query engine answered out of turn", "failed")
        told = msgspec.msgpack.decode(content, type=ErrorMessage)
        return QueryError.placed(told.message, told.kind, told.line, told.column)
