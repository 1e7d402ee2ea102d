"""The page's engine: a process of its own that runs queries over one data folder, and may be ended at any moment.

Started by `metlog.lake.guarded`. Some functions of DuckDB take memory past its own limit, and some cannot be interrupted; here they
meet the operating system's limits, and who started this process ends it when a query does not end otherwise.

The first descriptor it gets is the control socket: a `Setup`, then a descriptor a query. A query's socket that is closed on the
other side ends its query; a control socket that is closed ends the process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import shutil
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import msgspec
import pyarrow as pa

from metlog.lake import frames
from metlog.lake.frames import BATCH, DONE, ERROR, HEAD, Asked, Head, Setup, Told
from metlog.lake.query import Cancel, Lake, QueryError

__all__ = ["main"]

_NICE: Final = 5
"""The page and the listener come first when the machine is busy."""


class _Leavers:
    """Cancels the queries whose askers have gone away."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        threading.Thread(target=self._run, name="metlog-leavers", daemon=True).start()

    @contextlib.contextmanager
    def watching(self, sock: socket.socket, cancel: Cancel) -> Iterator[None]:
        with self._lock:
            self._selector.register(sock, selectors.EVENT_READ, cancel)
        self._wake.send(b"x")
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(KeyError):
                self._selector.unregister(sock)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                with self._lock:
                    if key.data is None:
                        self._woken.recv(4096)
                    else:  # nothing more is ever sent: it was closed
                        with contextlib.suppress(KeyError):
                            self._selector.unregister(key.fileobj)
                        key.data.cancel()


def _limit(setup: Setup) -> None:
    """Puts the process behind limits of the operating system, so that what DuckDB does not count is counted too."""
    row = (
        duckdb.connect(":memory:")
        .execute("SELECT parse_formatted_bytes($1), parse_formatted_bytes($2)", [setup.memory, setup.spill])
        .fetchone()
    )
    memory, disk = row if row is not None else (0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))
    resource.setrlimit(resource.RLIMIT_DATA, (memory + setup.headroom, memory + setup.headroom))
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # only Linux has it; there the kernel takes this process first
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")


def _answer(lake: Lake, leavers: _Leavers, sock: socket.socket) -> None:
    """One query, from its socket to its socket."""
    with sock:
        try:
            read = frames.exactly(sock)
            query = msgspec.msgpack.decode(frames.receive(read)[1], type=Asked)
            cancel = Cancel()
            with leavers.watching(sock, cancel):
                _run(lake, query, cancel, sock)
        except (OSError, EOFError):  # the asker has gone
            pass


def _run(lake: Lake, query: Asked, cancel: Cancel, sock: socket.socket) -> None:
    try:
        with lake.stream(
            query.sql, query.values(), timeout=query.timeout, loggers=query.loggers, cancel=cancel
        ) as stream:
            head = Head([(name, kind) for name, kind in stream.columns], stream.schema.serialize().to_pybytes())
            frames.send(sock, HEAD, msgspec.msgpack.encode(head))
            for batch in stream.batches:
                for part in frames.parts(batch):
                    frames.send(sock, BATCH, part)
        frames.send(sock, DONE, b"")
    except QueryError as error:
        told = Told(error.message, error.kind, error.line, error.column)
        frames.send(sock, ERROR, msgspec.msgpack.encode(told))
    except MemoryError:
        told = Told("the query needs more memory than it may have; ask for fewer days, rows or columns", "memory")
        frames.send(sock, ERROR, msgspec.msgpack.encode(told))
    except OSError:  # the asker has gone
        raise
    except Exception:  # noqa: BLE001 - a fault of ours: whoever asked must hear of it, and the log have it all
        traceback.print_exc()
        told = Told("something went wrong in the query engine; the log says what", "failed")
        frames.send(sock, ERROR, msgspec.msgpack.encode(told))


def main(descriptor: int) -> None:
    """Serves queries until the control socket is closed."""
    control = socket.socket(fileno=descriptor)
    setup = msgspec.msgpack.decode(frames.receive(frames.exactly(control))[1], type=Setup)
    pa.set_cpu_count(1)
    lake = Lake(
        setup.data, memory=setup.memory, spill=setup.spill, timeout=setup.timeout, threads=setup.threads, spill_folder=setup.spill_folder,
    )  # fmt: skip
    _limit(setup)
    leavers = _Leavers()
    frames.send(control, DONE, b"")
    while True:
        word, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not word:
            break
        for number in descriptors:
            asker = socket.socket(fileno=number)
            threading.Thread(target=_answer, args=(lake, leavers, asker), daemon=True).start()
    shutil.rmtree(setup.spill_folder, ignore_errors=True)  # whoever started this process may be gone for good
    os._exit(0)  # queries that run are not waited for


if __name__ == "__main__":
    main(int(sys.argv[1]))
