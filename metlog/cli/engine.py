"""`--engine` of the commands that ask: which engine, and what is seen while it takes its time."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from metlog.cli.common import data_folder, existing_data_folder
from metlog.plugins.conversion import MOST_SECONDS

if TYPE_CHECKING:
    from metlog.lake.interface import Cancel, Engine

__all__ = ["EngineOption", "MemoryOption", "TimeoutOption", "asking", "opened", "working"]

_PATIENCE: Final = 2.0
"""Seconds that a query has to let go after Ctrl-C; some functions cannot be interrupted."""

EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="URL",
        envvar="METLOG_ENGINE",
        help="Ask another engine: spark://HOST:PORT/DB, hive://HOST:PORT/DB, clickhouse:; see docs/engines.md.",
    ),
]

TimeoutOption = Annotated[
    float | None, typer.Option(min=0.001, max=MOST_SECONDS, help="Seconds after which a query is ended.")
]
MemoryOption = Annotated[str, typer.Option(help="Memory that DuckDB may use before it spills to disk.")]


@contextmanager
def opened(
    engine: str | None, data: Path | None, *, timeout: float | None = None, memory: str | None = None
) -> Iterator[Engine]:
    """The engine; DuckDB over the data folder when none is named. With another one the data folder is not needed."""
    from metlog.engines import open_engine
    from metlog.lake.interface import check_sizes

    if memory is not None:
        check_sizes(**{"--memory": memory})
    folder = existing_data_folder(data) if engine is None or data is not None else data_folder(None)
    found = open_engine(
        engine or "duckdb", where="--engine", data=folder if folder.is_dir() else None, timeout=timeout, memory=memory
    )
    try:
        yield found
    finally:
        found.close()


@contextmanager
def asking(engine: Engine) -> Iterator[Cancel]:
    """After a second a line on a terminal says for how long the engine works, and how far it is; Ctrl-C ends the query there, too."""
    from metlog.lake.cancel import Cancel

    cancel = Cancel()
    with _interruptible(engine, cancel), working(engine.name, cancel):
        yield cancel


@contextmanager
def _interruptible(engine: Engine, cancel: Cancel) -> Iterator[None]:
    """Cancels at SIGINT. Python's own handler runs when the engine's code returns, which is when the query has ended; so a thread hears of
    the signal by the descriptor that Python writes to at once. A query that does not let go ends with the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def listen() -> None:
        while number := os.read(heard, 1):
            if number[0] != signal.SIGINT:
                continue
            cancel.cancel()
            if not ended.wait(_PATIENCE):
                if isinstance(engine, Lake):
                    engine.abandon()
                os._exit(130)
            return

    from metlog.lake.query import Lake

    ended = threading.Event()
    listener = threading.Thread(target=listen, name="metlog-interrupt", daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.close(told)
        listener.join()
        os.close(heard)


@contextmanager
def working(name: str, cancel: Cancel) -> Iterator[None]:
    """Shows on a terminal, from the second second on, for how long a query has been running and what its engine last said of it."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    ended = threading.Event()
    status = Console(stderr=True, highlight=False).status(f"{name} …")

    def tell() -> None:
        seconds = 0
        while not ended.wait(1):
            seconds += 1
            if seconds == 1:
                status.start()
            said = cancel.progress.text if cancel.progress else name
            status.update(f"{said} · {seconds} s · Ctrl-C ends it")

    teller = threading.Thread(target=tell, name="metlog-progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        status.stop()
