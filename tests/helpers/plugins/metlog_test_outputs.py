"""Outputs with faults, found by name as anyone's would be."""

from __future__ import annotations

import os
import signal

import msgspec

from metlog.listener.outputs import BaseOutput, Batch


class Deadly(BaseOutput):
    """Appends the numbers of a batch's events to a file, with the batch's id; at one of the deadly numbers its process ends before.

    how
        `killed`, as the kernel does it for want of memory, or `exit`, as a library does it that knows better.
    """

    def __init__(self, *, path: str, deadly: list[int], how: str = "killed") -> None:
        self._path = path
        self._deadly = frozenset(deadly)
        self._how = how

    def write(self, batch: Batch) -> None:
        numbers = [delivery.event.fields["n"] for delivery in batch.deliveries]
        if not self._deadly.isdisjoint(numbers):
            if self._how == "exit":
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL)
        with open(self._path, "ab") as file:
            file.write(msgspec.json.encode({"id": batch.id, "numbers": numbers}) + b"\n")


class Faulty(BaseOutput):
    """Appends numbers to a file; fails once with a text that is no Unicode, cannot say where and cannot be closed."""

    def __init__(self, *, path: str) -> None:
        self._path = path
        self._failed = False

    def describe(self) -> str:
        raise RuntimeError("knows nothing")

    def write(self, batch: Batch) -> None:
        if not self._failed:
            self._failed = True
            raise OSError("no file \udcff")
        with open(self._path, "a") as file:
            file.writelines(f"{delivery.event.fields['n']}\n" for delivery in batch.deliveries)

    def close(self) -> None:
        raise RuntimeError("closed twice")
