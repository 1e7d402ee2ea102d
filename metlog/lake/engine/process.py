"""The page's engine: a process of its own that runs queries over one data folder, and may be ended at any moment.

Started by `metlog.lake.engine.client`. Some functions of DuckDB take memory past its own limit, and some cannot be interrupted; here they
meet the operating system's limits, and who started this process ends it when a query does not end otherwise.

The first descriptor it gets is the control socket: a `Setup`, then a descriptor a query. A query's socket that is closed on the
other side ends its query; a control socket that is closed ends the process.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import resource
import selectors
import shutil
import socket
import sys
import threading
import traceback
from collections import deque
from pathlib import Path
from typing import Final

import duckdb
import msgspec
import pyarrow as pa

from metlog.errors import MetlogError
from metlog.lake.cancel import Progress
from metlog.lake.engine import protocol
from metlog.lake.engine.protocol import (
    BATCH,
    DONE,
    ERROR,
    EXIT_RECYCLE,
    HEAD,
    PROGRESS,
    ErrorMessage,
    Head,
    QueryRequest,
    Setup,
)
from metlog.lake.query import Cancel, Lake, QueryError

__all__ = ["main"]

_NICE: Final = 5
"""The page and the listener come first when the machine is busy."""
_WORN: Final = 0.7
"""Share of the memory it may take above which an engine that has nothing to do makes room for a fresh one."""
_NO_MEMORY: Final = ("bad allocation", "bad_alloc", "Allocation failure", "malloc of size", "realloc of size")
"""What is said when the operating system refuses memory, as against DuckDB, which counts before it asks."""


class _Telling(Cancel):
    """Tells the page how far its query is, until the head of the answer is sent."""

    def __init__(self, client: socket.socket) -> None:
        super().__init__()
        self._client = client
        self._sending = threading.Lock()
        self._answered = False
        self._percent = 0

    def tell(self, progress: Progress) -> None:
        percent = int(100 * (progress.share or 0.0))
        with self._sending:
            if (
                self._answered or percent <= self._percent
            ):  # a hundred times at most, which a socket takes without waiting
                return
            self._percent = percent
            with contextlib.suppress(OSError):  # the client has gone; the main thread sees it
                protocol.send(self._client, PROGRESS, b"%.2f" % (percent / 100))

    def answer(self) -> None:
        """From here on nothing is told: the thread of the query writes."""
        with self._sending:
            self._answered = True


class _Engine:
    """Takes queries and answers each in a thread; what is open, and who has gone away, is known to the main thread alone."""

    def __init__(self, control: socket.socket, lake: Lake, most: int) -> None:
        self._control = control
        self._lake = lake
        self._most = most
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._todo: deque[tuple[socket.socket, Cancel | None]] = deque()
        """From the threads: a query that is to be watched, or, without its Cancel, one that is answered."""
        self._open: set[socket.socket] = set()
        for sock in (control, self._woken):
            self._selector.register(sock, selectors.EVENT_READ)

    def run(self) -> None:
        """Until the control socket is closed."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    word, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
                    if not word:
                        return
                    for number in descriptors:
                        self._begin(socket.socket(fileno=number))
                elif key.fileobj is self._woken:
                    self._woken.recv(4096)
                    while self._todo:
                        self._note(*self._todo.popleft())
                elif key.fileobj in self._open:  # a client says nothing more, so it was closed
                    self._selector.unregister(key.fileobj)
                    key.data.cancel()

    def _begin(self, client: socket.socket) -> None:
        self._open.add(client)
        # Not threading.Thread: its start() waits for ever when the new thread dies at once for want of memory.
        _thread.start_new_thread(self._answer, (client,))

    def _note(self, client: socket.socket, cancel: Cancel | None) -> None:
        if cancel is not None:
            self._selector.register(client, selectors.EVENT_READ, cancel)
            return
        with contextlib.suppress(KeyError):
            self._selector.unregister(client)
        client.close()
        self._open.discard(client)
        if not self._open and _data_bytes() > _WORN * self._most:
            _leave()

    def _tell(self, client: socket.socket, cancel: Cancel | None) -> None:
        self._todo.append((client, cancel))
        self._wake.send(b"x")

    def _answer(self, client: socket.socket) -> None:
        """One query, from its socket to its socket."""
        try:
            query = msgspec.msgpack.decode(protocol.receive(protocol.exactly(client))[1], type=QueryRequest)
            cancel = _Telling(client)
            self._tell(client, cancel)
            self._run(query, cancel, client)
        except (OSError, EOFError):  # the client has gone
            pass
        finally:
            self._tell(client, None)

    def _run(self, query: QueryRequest, cancel: _Telling, client: socket.socket) -> None:
        try:
            with self._lake.stream(
                query.sql, query.values(), timeout=query.timeout, loggers=query.loggers, cancel=cancel
            ) as stream:
                cancel.answer()
                head = Head([(name, kind) for name, kind in stream.columns], stream.schema.serialize().to_pybytes())
                protocol.send(client, HEAD, msgspec.msgpack.encode(head))
                for batch in stream.batches:
                    for part in protocol.parts(batch):
                        protocol.send(client, BATCH, part)
            protocol.send(client, DONE, b"")
        except QueryError as error:
            cancel.answer()
            told = ErrorMessage(error.message, error.kind, error.line, error.column)
            protocol.send(client, ERROR, msgspec.msgpack.encode(told))
            if _broken(error.__cause__):
                _leave()
        except MemoryError:
            cancel.answer()
            told = ErrorMessage(
                "the query needs more memory than it may have; ask for fewer days, rows or columns", "memory"
            )
            protocol.send(client, ERROR, msgspec.msgpack.encode(told))
            _leave()
        except OSError:  # the client has gone
            raise
        except Exception:  # noqa: BLE001 - a fault of this code: the client gets an error, the log the traceback
            cancel.answer()
            traceback.print_exc()
            told = ErrorMessage("something went wrong in the query engine; the log says what", "failed")
            protocol.send(client, ERROR, msgspec.msgpack.encode(told))


def _broken(cause: BaseException | None) -> bool:
    """Whether nothing more can be expected of this process: it was refused memory in the middle of something, or DuckDB says so."""
    if isinstance(cause, (MemoryError, duckdb.FatalException, duckdb.InternalException)):
        return True
    return any(words in str(cause) for words in _NO_MEMORY)


def _leave() -> None:
    """Ends the process: a fresh one will be started, and asked again what this one has not answered."""
    os._exit(EXIT_RECYCLE)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process; 0 where that cannot be known."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[5]) * resource.getpagesize()
    except OSError:
        return 0


def _limit(setup: Setup) -> int:
    """Puts the process behind limits of the operating system, so that what DuckDB does not count is counted too; returns its memory."""
    row = (
        duckdb.connect(":memory:")
        .execute("SELECT parse_formatted_bytes($1), parse_formatted_bytes($2)", [setup.memory, setup.spill])
        .fetchone()
    )
    memory, disk = row if row is not None else (0, 0)
    most = int(memory) + setup.headroom
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # only Linux has it; there the kernel takes this process first
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    return most


def _fault(found: sys.UnraisableHookArgs) -> None:
    """A thread ended before its first line, or after its last: there is no memory for it."""
    sys.__unraisablehook__(found)
    _leave()


def _begun(control: socket.socket, setup: Setup) -> _Engine | None:
    """The engine; None where the lake cannot be opened, which who started this process is told."""
    try:
        lake = Lake(
            setup.data, memory=setup.memory, spill=setup.spill, timeout=setup.timeout, threads=setup.threads,
            spill_folder=setup.spill_folder, credentials=setup.credentials,
        )  # fmt: skip
    except (MetlogError, OSError, duckdb.Error) as error:
        told = ErrorMessage(str(error).split("\n", 1)[0], "failed")
        protocol.send(control, ERROR, msgspec.msgpack.encode(told))
        return None
    return _Engine(control, lake, _limit(setup))


def main(descriptor: int) -> None:
    """Serves queries until the control socket is closed."""
    sys.unraisablehook = _fault
    control = socket.socket(fileno=descriptor)
    setup = msgspec.msgpack.decode(protocol.receive(protocol.exactly(control))[1], type=Setup)
    status = 0
    try:
        pa.set_cpu_count(1)
        engine = _begun(control, setup)
        if engine is None:
            status = 1
        else:
            protocol.send(control, DONE, b"")
            engine.run()
    except (RuntimeError, MemoryError):  # no thread for a query
        status = EXIT_RECYCLE
    except Exception:  # noqa: BLE001 - told, and then the process ends in any case
        traceback.print_exc()
        status = 1
    shutil.rmtree(setup.spill_folder, ignore_errors=True)  # the parent process may be gone for good
    os._exit(status)  # queries that run are not waited for
