"""What became of every event: the counts behind `stats()`, and warnings that are logged once."""

from __future__ import annotations

import logging
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from msgspec import Struct, field

from metlog.errors import SenderError

__all__ = ["Counts", "OnDrop", "Stats", "AtomicCounter", "inside"]

OnDrop = Callable[[str, int], None]

_log: Final = logging.getLogger("metlog")
_NOBODY_THERE: Final = frozenset({"refused", "unreachable", "unresolved", "timeout", "rejected", "tls"})
_AT_THE_END: Final = 0.05  # seconds


class _Inside(threading.local):
    active = False
    encoding = False


inside: Final = _Inside()
"""`active` while filters or the drop hook run in this thread: what they log must not run them again.
`encoding` while an encoder that may log runs."""


class Stats(Struct, kw_only=True):
    """Counts since `configure`. At every moment `accepted == sent + sum(dropped.values()) + buffered`."""

    accepted: int = 0
    """Events that passed the filters and were given a `seq`."""
    filtered: int = 0
    """Events that a filter dropped, and calls made before `configure`."""
    sent: int = 0
    """Events handed to the transport."""
    buffered: int = 0
    """Events on their way: pending, in a queue, or in a frame that is being sent."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Events lost in this process, by reason."""
    frames: int = 0
    bytes: int = 0
    """Frames sent, and their bytes."""
    errors: int = 0
    """What senders, encoders and filters raised."""
    repaired: int = 0
    """Events with a value that had to be converted, since JSON has no such value (see `metlog.values`)."""

    transport: dict[str, int] = field(default_factory=dict)
    """What the sender learnt after it had sent, in its own counts: `refused` for datagrams that nobody took, `waiting` for frames that
    wait for a name to be looked up (and count as sent meanwhile). Zeros are left out."""

    def add(self, other: Stats) -> None:
        """Adds another's counts."""
        for name in ("accepted", "filtered", "sent", "buffered", "frames", "bytes", "errors", "repaired"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, number in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + number
        for name, number in other.transport.items():
            self.transport[name] = self.transport.get(name, 0) + number


class AtomicCounter(count):  # type: ignore[type-arg]
    """Counts without a lock: `next` adds one, and returns the count before."""

    @property
    def value(self) -> int:
        """The count. Read from `AtomicCounter(…)`, the only way to look at an `itertools.count` without counting."""
        return int(repr(self)[14:-1])


class Counts:
    """What was lost, and why. What was sent is counted by the dispatcher, where only one thread at a time sends.

    `subject` and `where` are the words of a warning: what is counted, and what shows the counts; `prefix` stands before each.
    """

    __slots__ = ("_on_drop", "_prefix", "_subject", "_warned", "_where", "by_reason", "errors", "lock", "unreported")

    def __init__(
        self, on_drop: OnDrop | None = None, *, subject: str = "events", where: str = "stats()", prefix: str = ""
    ) -> None:
        self._on_drop = on_drop
        self._subject, self._where, self._prefix = subject, where, prefix
        self._warned: set[str] = set()
        self.restart()

    def restart(self) -> None:
        """From zero, with a lock of its own: a new stream, or a forked child."""
        self.lock = threading.RLock()  # reentrant: a signal handler may log while its own thread counts
        self.errors = 0
        # With a missing key counted in C: between `get` and the assignment a signal handler of this very thread could count too.
        self.by_reason: dict[str, int] = defaultdict(int)
        self.unreported = False
        """Whether something was dropped since the last report went out."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the counters' lock. At interpreter shutdown it gives up after 50 ms: a daemon thread may have died holding it."""
        held = self.lock.acquire(timeout=_AT_THE_END if sys.is_finalizing() else -1)
        try:
            yield
        finally:
            if held:
                self.lock.release()

    def dropped(self, reason: str, number: int) -> None:
        """`number` accepted events are lost."""
        if not number:
            return
        with self.locked():
            self.by_reason[reason] += number
            self.unreported = True
        self.warn_once(reason, f"{self._subject} are dropped: {reason} (counted in {self._where}; told once)")
        if self._on_drop is not None and not inside.active:
            inside.active = True
            try:
                self._on_drop(reason, number)
            except Exception as error:  # noqa: BLE001 - the application's hook may raise anything
                self.error("on_drop", error)
            finally:
                inside.active = False

    def failed(self, error: BaseException, number: int = 0, reason: str | None = None) -> None:
        """Something raised, and `number` events are lost by it: under `reason`, that of a SenderError, or `send_error`."""
        kind = reason or (error.reason if isinstance(error, SenderError) else "send_error")
        self.error(kind, error)
        self.dropped(kind, number)

    def error(self, kind: str, error: BaseException) -> None:
        """Something raised, and nothing is lost by it."""
        with self.locked():
            self.errors += 1
        hint = "; `metlog doctor` looks for the reason" if kind in _NOBODY_THERE else ""
        self.warn_once(f"{kind} {type(error).__name__}", f"{kind}: {type(error).__name__}: {error}{hint}")

    def warn_once(self, kind: str, message: str) -> None:
        """Logs a warning through the standard logger `metlog`, once for each kind."""
        if kind in self._warned or len(self._warned) > 100:
            return
        self._warned.add(kind)
        try:
            _log.warning("%s%s", self._prefix, message)
        except Exception:  # noqa: BLE001 - a broken logging set-up is the application's; the counts tell it too
            with self.locked():
                self.errors += 1
