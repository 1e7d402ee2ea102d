"""Inputs: take frames from somewhere. One file an input."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from metlog.event import Event
from metlog.journal.errors import Full
from metlog.listener.inputs._handed import Handed, HandedSocket
from metlog.listener.validate import Validated

__all__ = ["BaseInput", "Full", "Handed", "HandedSocket", "Input", "Sink", "Watched"]


class Sink(Protocol):
    """Where an input puts what it received. Every method may be called by any thread, and blocks (a coroutine calls it
    through `loop.run_in_executor`)."""

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        """One frame, fire and forget: decoded, checked; what is good is journaled, what is bad dead-lettered with its reason.

        `source` says where it came from, as a URL without a path (`udp://192.0.2.7:40112`); `received_at` is in
        microseconds since the epoch, now by default. Never raises: when the journal is full the frame is dropped and counted.
        """
        ...

    def frames(self, batch: Sequence[tuple[bytes | Validated, str]], received_at: int | None = None) -> None:
        """Several frames with their sources, as `frame`; costs less a frame. What an input has validated itself (an input that
        makes events of another protocol) is not decoded again."""
        ...

    def submit(
        self, events: Sequence[Event] | Validated, source: str, *, key: str = "", received_at: int | None = None
    ) -> bool:
        """Journals events and returns when they are on disk, as the journal's `sync` setting has it. `Validated` input (see
        `metlog.listener.validate.validate`) is journaled as it is; its rejects are the caller's.

        With a `key`, a repeat of the same key within the journal's memory of keys is not journaled again and gives
        False; else True. Raises `Full`; raises ValueError naming the event that JSON or the lake cannot hold.
        """
        ...

    def opened(self, body: bytes, source: str, key: str = "") -> bytes | None:
        """Returns the content of a whole body, which is another than `body` where it was signed; None for one that this input's
        signing rules refuse, which is a dead letter then. `key`: see `submit`; a repeat under the same key is no replay, nor is one of a
        body whose `submit`, the next one of the same thread, raised."""
        ...

    def reject(self, data: bytes, source: str, reason: str) -> None:
        """Dead-letters what the input itself refused. `reason` is one of a bounded number of texts, any detail after a colon."""
        ...


@runtime_checkable
class Input(Protocol):
    """Takes frames from somewhere and gives them to a sink.

    A complete one, registered as `spool = "mypackage:SpoolInput"` in the entry-point group `metlog.inputs`:

    >>> import threading, pathlib
    >>> class SpoolInput:
    ...     def __init__(self, *, path: str, interval: float = 1.0) -> None:
    ...         self._folder, self._interval = pathlib.Path(path), interval
    ...         self._stop, self._taken = threading.Event(), 0
    ...     @property
    ...     def addresses(self) -> list[str]:
    ...         return [f"spool://{self._folder}"]
    ...     def start(self, sink: Sink) -> None:
    ...         if not self._folder.is_dir():
    ...             raise OSError(f"spool input: {self._folder} is no folder; make it first")
    ...         self._thread = threading.Thread(target=self._run, args=(sink,), name="metlog-spool", daemon=True)
    ...         self._thread.start()
    ...     def _run(self, sink: Sink) -> None:
    ...         stopping = False
    ...         while not stopping:
    ...             stopping = self._stop.wait(self._interval)  # a last look after stop: drain what is there
    ...             for file in sorted(self._folder.glob("*.ndjson")):
    ...                 sink.frame(file.read_bytes(), f"spool://{file.name}")
    ...                 file.unlink()
    ...                 self._taken += 1
    ...     def stop(self) -> None:
    ...         self._stop.set()
    ...         self._thread.join()
    ...     def stats(self) -> dict[str, int]:
    ...         return {"frames": self._taken}

    Options are the constructor's keyword arguments, converted by their annotations; the constructor opens nothing.
    An input runs in threads of its own (one that wants an event loop runs it in a thread). More hooks, each optional, are in
    `BaseInput` with what they do when left out.

    `metlog.testing.InputConformance` is the suite that the built-in inputs pass, for yours in a few lines.
    """

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as URLs, with the real port when port 0 was asked for. Known once started."""
        ...

    def start(self, sink: Sink) -> None:
        """Binds and begins to take frames. Raises OSError or ConfigError with a text that names what to change."""
        ...

    def stop(self) -> None:
        """Takes no more, after having given the sink what the kernel or a library still held. Called again, does nothing."""
        ...

    def stats(self) -> dict[str, int]:
        """Counters since the start: `frames`, `bytes`, and whatever tells what was lost (`kernel_drops`)."""
        ...


class Watched(Protocol):
    """The listener as an input sees it that shows health and metrics."""

    def health(self) -> list[str]:
        """Returns what has stopped moving; empty when all is well."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Returns everything that the listener knows of itself, as in `status.json`."""
        ...


class BaseInput:
    """An input with every hook at its default. Subclasses write `start` and `stop`, and `addresses`.

    The listener's main thread calls `watch` and `start`; its keeper thread calls `stats`, `health`, `sockets`, `addresses` and
    `warnings` twice a second, as does a request to `/healthz` or `/metrics`, in a thread of the input `http`: these must return at
    once. The main thread calls `stop`.
    """

    warnings: Sequence[str] = ()
    """What an operator should know although the input runs, such as a smaller receive buffer than was asked for. Known once
    started."""

    handed_over: bool = False
    """Set before `stop` when another input goes on with the sockets that `listening` gave: what belongs to them (a path) stays."""

    takes_signed: bool = False
    """Whether it hands on each frame whole and by `frame` or `frames`, so that `keys` and `signed` can be asked of it."""

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as URLs, with the real port when port 0 was asked for. Known once started."""
        return []

    def watch(self, listener: Watched) -> None:
        """Called once, before `start`, with the listener, for an input that shows its health or metrics."""

    def bind_sockets(self, handed: Handed) -> None:
        """Called before `start` at a reload and a takeover: binds what `start` will take frames from, sockets out of `handed` where they
        fit, and takes nothing yet. Raises OSError or ConfigError. Without it, `start` binds, after what came before has ended."""

    def listening(self) -> Sequence[tuple[str, socket.socket]]:
        """Returns the sockets that it listens on, each with what it was asked for (`udp://127.0.0.1:0`); duplicates of them go to the
        `bind_sockets` of the input that comes after it."""
        return ()

    def start(self, sink: Sink) -> None:
        """Binds, unless `bind_sockets` has, and begins to take frames. Raises OSError or ConfigError with a text that names what to
        change."""
        raise NotImplementedError

    def stop(self) -> None:
        """Takes no more, after having given the sink what the kernel or a library still held. Called again, or without `start`, does
        nothing."""

    def stats(self) -> dict[str, int]:
        """Returns counters since the start: `frames`, `bytes`, and what was lost (`kernel_drops`)."""
        return {}

    def health(self) -> str:
        """Returns what is wrong (a thread that died or stopped moving); empty when all is well."""
        return ""

    def sockets(self) -> list[dict[str, Any]]:
        """Returns for each socket of which the kernel drops datagrams a mapping with `address` and `kernel_drops`."""
        return []

    def partitions(self) -> dict[str, dict[str, int]]:
        """Returns for each partition that an input of a partitioned log has now, as `TOPIC/NUMBER`: `offset` of the next message, and
        `lag`, messages that are not journaled yet."""
        return {}
