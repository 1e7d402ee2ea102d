"""Lines read no faster than a sender takes them, with a bar on a terminal."""

from __future__ import annotations

import os
import stat
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from metlog import MetlogClient

__all__ = ["Pace"]

_BYTES: Final = 2 << 20
"""Bytes of input after which is waited until all is sent: far less than a queue holds (`buffer.max_bytes`, 8 MiB)."""
_LINES: Final = 8_000
"""The same in lines: an event has some 200 bytes beside its payload."""


class Pace:
    """Waits for the sender, so that nothing is dropped for want of room; shows lines, and the share of a file, on a terminal."""

    def __init__(self, client: MetlogClient) -> None:
        self._client = client
        self._bytes = self._lines = 0
        self._bar: Any = None
        self._task: Any = None

    def line(self, size: int) -> None:
        """A line of so many bytes was read, and is sent next."""
        self._bytes += size
        self._lines += 1
        if self._bytes >= _BYTES or self._lines >= _LINES:
            self._wait()

    def _wait(self) -> None:
        while not self._client.flush(5):
            self._show(0, 0)
        self._show(self._lines, self._bytes)
        self._bytes = self._lines = 0

    def _show(self, lines: int, size: int) -> None:
        if self._bar is not None:
            known = self._bar.tasks[0].total is not None
            stats = self._client.stats()
            lost = f", {sum(stats.dropped.values())} lost" if stats.dropped else ""
            self._bar.update(self._task, advance=size if known else lines, description=f"{stats.sent:,} events{lost}")

    def __enter__(self) -> Pace:
        if sys.stderr.isatty() and not sys.stdin.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
            )

            about = os.fstat(sys.stdin.fileno())
            total = about.st_size if stat.S_ISREG(about.st_mode) else None
            self._bar = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("sending", total=total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            if self._bar is not None:
                self._bar.stop()
