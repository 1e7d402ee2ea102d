"""Outputs: hand on what the journal holds. One file an output.

Every output runs in a process of its own, with a durable cursor of its own, at its own pace; a dead one delays no other.
The journal keeps a segment until every configured output is past it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from msgspec import Struct

from metlog.errors import MetlogError
from metlog.event import Event
from metlog.listener.outputs.context import Context

__all__ = ["BaseOutput", "Batch", "Delivery", "Output", "Rejected", "Undelivered"]


class Delivery(Struct, gc=False):
    """One event on its way out."""

    event: Event
    """As it was received; `timestamp` is corrected where the client's clock was off by more than the limit."""
    received_at: int
    """Microseconds since the epoch."""
    source: str
    """Where the listener got it from, such as ``udp://192.0.2.7:40112``."""


class Batch(Struct):
    """Some deliveries, in the order of the journal."""

    id: str
    """The same after a crash or a retry for the same deliveries, and never the same for others: a key for idempotent receivers."""
    deliveries: Sequence[Delivery]
    size: int
    """Bytes of the events as JSON, about."""


class Rejected(MetlogError):
    """Raised by `write`: the receiver refuses these deliveries for good. They are dead-lettered with the reason, and
    all others of the batch count as delivered."""

    def __init__(self, rejected: Sequence[tuple[Delivery, str]]) -> None:
        self.rejected = list(rejected)
        """Deliveries and the reason for each."""
        super().__init__(f"{len(self.rejected)} events refused: {self.rejected[0][1] if self.rejected else ''}")


class Undelivered(MetlogError):
    """Raised by `write` of the outputs here: the batch was not delivered now, and is tried again."""


@runtime_checkable
class Output(Protocol):
    """Takes batches somewhere.

    A complete one, registered as `append = "mypackage:AppendOutput"` in the entry-point group `metlog.outputs`:

    >>> import msgspec
    >>> class AppendOutput:
    ...     def __init__(self, *, path: str) -> None:
    ...         self._path = path
    ...     def start(self) -> None:
    ...         self._file = open(self._path, "ab")
    ...     def write(self, batch: Batch) -> None:
    ...         for delivery in batch.deliveries:
    ...             self._file.write(msgspec.json.encode(delivery.event) + b"\\n")
    ...         self._file.flush()
    ...     def close(self) -> None:
    ...         self._file.close()

    Options are the constructor's keyword arguments, converted by their annotations. In the configuration an output's table
    also takes the routing conditions (`types`, `tokens`, `loggers`, `severity_max`), `id` (the name of its cursor,
    the output's name by default) and the limits of a batch (`batch_events`, `batch_bytes`, `batch_age` in seconds), which
    the constructor does not see.

    `write` is called with one batch at a time. When it returns, the batch is delivered and the cursor moves on, durably.
    `Rejected` dead-letters some of it. Anything else that it raises means: not delivered; the same batch comes again after a
    while (backoff with jitter, 0.1 s to 30 s), and so it does after a crash, with the same `id` and the same deliveries; after four
    crashes at one place in halves, with ids of their own.

    More hooks, each optional, are in `BaseOutput` with what they do when left out.

    `metlog.testing.OutputConformance` is the suite that the built-in outputs pass, for yours in a few lines.
    """

    def start(self) -> None:
        """Opens what it needs. Called in the process that writes; what it raises is retried as `write` is."""
        ...

    def write(self, batch: Batch) -> None:
        """Delivers one batch."""
        ...

    def close(self) -> None:
        """Releases everything."""
        ...


class BaseOutput:
    """An output with every hook at its default. Subclasses write `write`.

    Everything is called in the output's own process, by its main thread. The listener also calls the constructor, to check the options,
    in its own process: it opens nothing.
    """

    batch_defaults: ClassVar[Mapping[str, Any]] = {}
    """The output's own defaults for `batch_events`, `batch_bytes` and `batch_age`."""
    reads_journal: ClassVar[bool] = False
    """True: the output reads the journal itself, by `run`, and gets no batches."""
    unused_modules: ClassVar[Sequence[str]] = ()
    """Modules that are not imported in the output's process, though a library that it uses would import them where they are installed."""

    def start(self) -> None:
        """Opens what it needs, before the first batch. What it raises is retried as `write` is."""

    def write(self, batch: Batch) -> None:
        """Delivers one batch; returns when it is delivered, raises when it is not."""
        raise NotImplementedError

    def run(self, context: Context) -> None:
        """In place of `start` and `write`, with `reads_journal`: reads the journal and keeps its cursor until the listener ends."""
        raise NotImplementedError

    def close(self) -> None:
        """Releases everything, after the last batch. Called again, or without `start`, does nothing."""

    def describe(self) -> str:
        """Returns where the output delivers, without secrets: for `metlog journal status`, the page, `metlog doctor`. Called once, before
        `start`."""
        return ""

    def stats(self) -> dict[str, int]:
        """Returns counters since the start. Called after each batch."""
        return {}
