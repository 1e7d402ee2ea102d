"""Resolves host names off the fast path: in a thread, at start, every minute and after errors."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from metlog.core.backoff import Backoff
from metlog.core.wakeup import Wakeup
from metlog.senders._deadline import Deadline
from metlog.senders.options import Address, numeric

__all__ = ["Resolver", "lookup"]

GLANCE = 0.05
"""Seconds between two checks of the deadline while a lookup is under way."""

FIRST_RETRY = 0.5
"""Seconds to the second attempt when the first found nothing; doubled up to the interval."""

KICK_PAUSE = 5.0
"""Least seconds between two lookups that errors trigger: a dead name server is not queried for every frame."""


class Resolver:
    """Keeps the addresses of some hosts. In the resolver's thread `on_change(addresses)` is called with new ones, and
    `on_failure(error)` after a round that leaves no address known.

    A failed lookup keeps the addresses known so far. `answered` is set once the first round is over, found or not.
    """

    def __init__(
        self, hosts: list[str], port: int, kind: socket.SocketKind, on_change: Callable[[list[Address]], None],
        on_failure: Callable[[Exception | None], None], *, family: socket.AddressFamily = socket.AF_UNSPEC,
        interval: float = 60.0,
    ) -> None:  # fmt: skip
        self.hosts, self.port, self.kind, self.family, self.interval = hosts, port, kind, family, interval
        self.answered = threading.Event()
        self.error: OSError | UnicodeError | None = None
        """The error of the last failed lookup."""
        self._on_change, self._on_failure = on_change, on_failure
        self._known: dict[str, list[Address]] = {}
        self._last: list[Address] = []
        self._asked = 0.0
        # No `threading.Event`: a signal handler may log, and ask again, in the middle of `kick`.
        self._wakeup = Wakeup()
        self._started = self._closed = False

    def start(self) -> bool:
        """Starts the thread, a daemon: a lookup that hangs must not hold the process. Called again, does nothing.

        Returns whether the thread was started: none can be while the interpreter ends.
        """
        if not self._started:
            self._started = True
            _import_codec()
            try:
                threading.Thread(target=self._run, name="metlog-resolver", daemon=True).start()
            except RuntimeError:
                self._started = False
        return self._started

    def wait(self, seconds: float) -> None:
        """Waits for the first round, at most so many seconds.

        Where no thread can be started, the round is made here, and takes as long as the name servers do.
        """
        if self.start():
            self.answered.wait(seconds)
        elif seconds > 0:
            self._look_up_all()

    def kick(self) -> None:
        """Requests a lookup soon, because sending failed; cheap, and at most every few seconds."""
        if time.monotonic() - self._asked > KICK_PAUSE:
            self._wakeup.wake()

    def close(self) -> None:
        """Ends the thread; does not wait for a lookup that is under way."""
        self._closed = True
        self._wakeup.wake()

    def _run(self) -> None:
        backoff = Backoff(FIRST_RETRY, self.interval, jitter=0.0)
        while not self._closed:
            found = self._look_up_all()
            if self._closed:
                return
            if found:
                backoff.reset()
            self._wakeup.wait(self.interval if found else backoff.pause())

    def _look_up_all(self) -> bool:
        """One round: looks every name up, and tells of new addresses. Returns whether there is an address."""
        self._asked = time.monotonic()
        found = self._lookup()
        if not self._closed:
            if not found:
                self._on_failure(self.error)
            elif found != self._last:
                self._last = found
                self._on_change(found)
            self.answered.set()
        return bool(found)

    def _lookup(self) -> list[Address]:
        for host in self.hosts:
            literal = numeric(host, self.port, self.kind)
            if literal is not None:
                self._known[host] = literal
                continue
            try:
                answers = socket.getaddrinfo(host, self.port, family=self.family, type=self.kind)
            except (OSError, UnicodeError) as error:
                self.error = error
                continue
            self._known[host] = [(answer[0], answer[4]) for answer in answers]
        return [address for host in self.hosts for address in self._known.get(host, [])]


def _import_codec() -> None:
    """Imports what the first `getaddrinfo` of a process imports, before a thread does: a child that is forked during an import waits for
    that module's lock for ever."""
    import encodings.idna  # noqa: F401


def lookup(host: str, port: int, kind: socket.SocketKind, deadline: Deadline, end: float) -> list[Address]:
    """Returns the addresses of a name, for a sender that may wait: at most until `end` (monotonic seconds) or `close`.

    Raises OSError (`socket.gaierror`, TimeoutError). A lookup cannot be interrupted: a thread of its own waits for it. While the
    interpreter ends no thread can be started: the lookup is made here then, and takes as long as the name servers do.
    """
    done = threading.Event()
    found: list[Address] = []
    failed: list[OSError] = []

    def ask() -> None:
        try:
            found.extend((answer[0], answer[4]) for answer in socket.getaddrinfo(host, port, type=kind))
        except OSError as error:
            failed.append(error)
        except UnicodeError as error:
            failed.append(socket.gaierror(socket.EAI_NONAME, f"{host!r}: {error}"))
        finally:
            done.set()

    _import_codec()
    try:
        threading.Thread(target=ask, name="metlog-lookup", daemon=True).start()
    except RuntimeError:
        if not deadline.over:
            ask()
    while not done.wait(GLANCE):
        if deadline.over or time.monotonic() >= end:
            raise TimeoutError(f"looking up {host!r} takes too long")
    if failed:
        raise failed[0]
    return found
