"""Filters: an event in, the same, a changed one or None out. One file a filter (or a family of them)."""

from __future__ import annotations

from typing import Protocol

from metlog.event import Event

__all__ = ["Filter"]


class Filter(Protocol):
    """A callable that keeps, changes or drops an event.

    A complete one, registered as `no_health = "mypackage:NoHealthChecks"` in the entry-point group `metlog.filters`:

    >>> class NoHealthChecks:
    ...     def __init__(self, *, path: str = "/healthz") -> None:
    ...         self._path = path
    ...     def __call__(self, event: Event) -> Event | None:
    ...         return None if event.fields.get("path") == self._path else event

    Options are the constructor's keyword arguments, converted by their annotations. It runs in the calling thread, before
    `seq` is given and before anything is encoded. It must not change the event in place when it was given
    `fields` by the caller: use `msgspec.structs.replace`. What it raises drops the event, counted under `filter_error`.

    Optional attributes:

    - `severity_max` (int): every event of a greater severity number would be dropped anyway, so that the
      client need not build it.
    - `by_severity_only` (True, beside `severity_max`): no other event is dropped and none is changed, so that it need not be asked.
    - `emit`: None until the pipeline sets it to a callable `(event) -> None` by which the filter
      can add an event of its own (`rate_limit` tells what it suppressed); it passes the filters behind this one.
    - `tick(now)`: called every so often with the time (monotonic seconds), in a thread of metlog's.
    - `close()`: called when the client closes, before the last flush.
    - `after_fork()`: called in a forked child, before it logs: to renew locks and forget what is the parent's.

    `metlog.testing.FilterConformance` is the suite that the built-in filters pass, for yours in three lines.
    """

    def __call__(self, event: Event, /) -> Event | None:
        """The event to go on with, or None to drop it."""
        ...
