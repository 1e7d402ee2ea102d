"""Output `stdout`: events on the listener's standard output, for a pipe or a terminal."""

from __future__ import annotations

import os
import select
from typing import Any, ClassVar

from metlog import plugins
from metlog.listener.outputs import BaseOutput, Batch

__all__ = ["StdoutOutput"]

_FD = 1


class StdoutOutput(BaseOutput):
    """Writes batches, encoded, and waits for a reader that is slow. After a crash a batch may come twice.

    encoder
        `json` by default (one event a line); `text`, ….
    """

    batch_defaults: ClassVar[dict[str, Any]] = {"batch_age": 0.1}

    def __init__(self, *, encoder: Any = "json") -> None:
        self._encoder = plugins.build("encoder", encoder, "encoder")
        self._begun = ("", 0)

    def describe(self) -> str:
        return "standard output"

    def start(self) -> None:
        os.fstat(_FD)  # a closed one is told now

    def write(self, batch: Batch) -> None:
        encode = self._encoder.encode
        data = self._encoder.frame([encode(delivery.event) for delivery in batch.deliveries])
        # When a write failed half-way, the same batch goes on where it stopped.
        ident, done = self._begun
        done = done if ident == batch.id else 0
        while done < len(data):
            try:
                done += os.write(_FD, memoryview(data)[done : done + 65_536])
            except BlockingIOError:  # the pipe was made non-blocking by the parent process
                select.select([], [_FD], [])
            finally:
                self._begun = (batch.id, done)

    def close(self) -> None:
        """Standard output is not ours to close."""
