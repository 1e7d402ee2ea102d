"""Targets: who is told of an alert. One file a target; more of them through the entry-point group `metlog.targets`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from metlog.event import Event

__all__ = ["BaseTarget", "Notice", "Submit"]

Submit = Callable[[Sequence[Event]], None]
"""Takes events where there is a listener in this process; raises when it takes none."""


class Notice(Struct, frozen=True, kw_only=True):
    """What is told of an alert; as JSON the body of a webhook and the standard input of a command."""

    id: str
    """The same whenever a notice comes again, and never the same for another: a key for idempotent receivers."""
    alert: str
    kind: str
    """`firing`, `repeat` or `recovered`."""
    state: str
    """`firing`, `no_data` or `ok`."""
    text: str
    """One sentence for people."""
    severity: int
    """RFC 5424, 0 to 7; 5 for a recovery."""
    when: str
    """The condition."""
    value: float | None
    """The value that has the condition, or comes nearest to it; None without data."""
    row: dict[str, Any]
    """The row of that value."""
    at: str
    """When the alert was evaluated, RFC 3339."""
    since: str
    """Since when the condition holds, or, recovered, did hold."""
    test: bool = False
    """Whether `metlog alerts test --send` sent it."""


class BaseTarget:
    """Tells of alerts somewhere. Subclasses write `send`; options are the constructor's keyword arguments.

    >>> class Printed(BaseTarget):
    ...     def send(self, notice: Notice) -> None:
    ...         print(notice.text)

    `send` is called by one thread of the target's own, one notice at a time. What it raises means: not told; the same notice comes again
    after a while (backoff with jitter, 1 s to 5 min, for a day), and so it does after a crash in the very moment of sending, with the
    same `id`.
    """

    def bind(self, submit: Submit | None) -> None:
        """Says where events go when a listener runs in this process; None: there is none. Raises ValueError when the target cannot do
        without."""

    def describe(self) -> str:
        """Returns who is told, without secrets."""
        return ""

    def send(self, notice: Notice) -> None:
        """Tells it; returns when it was taken, raises when it was not."""
        raise NotImplementedError

    def close(self) -> None:
        """Releases everything. Called again, does nothing."""
