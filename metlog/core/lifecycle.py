"""Fork, the end of the process, and workers that end without it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from time import monotonic, sleep
from types import FrameType, TracebackType
from typing import Any, Final, Protocol, TypeVar, cast

from metlog.core.calls import around
from metlog.core.living import Living
from metlog.core.stats import Counts
from metlog.core.timeouts import deadline_in
from metlog.errors import MetlogError

__all__ = ["close_all", "flush_all", "flush_on_signal", "job", "live"]


F = TypeVar("F", bound=Callable[..., Any])


class Closable(Protocol):
    """Has something to send before a process ends."""

    exit_timeout: float
    counts: Counts

    def drain(self, deadline: float) -> None: ...
    def flush(self, deadline: float) -> bool: ...
    def close(self, deadline: float) -> None: ...
    def after_fork(self) -> None: ...


live: Living[Closable] = Living()
"""Every pipeline (and wrapped statsd client) that is open; not the branches of a `FanOut`, which sees to them."""


def flush_all(timeout: float) -> bool:
    """Flushes everything that is open within `timeout` seconds, all together; whether all of it was sent."""
    deadline = deadline_in(timeout)
    found = list(live)
    for item in found:
        _attempt(item, item.drain, deadline, "flush_error")
    return all([_attempt(item, item.flush, deadline, "flush_error") for item in found])


def close_all(timeout: float | None = None) -> None:
    """Closes everything that is open, within `timeout` seconds together (None: the longest `exit_timeout`); the queues empty side by
    side."""
    found = list(live)
    longest = max((item.exit_timeout for item in found), default=0.0)
    deadline = deadline_in(longest if timeout is None else timeout)
    for item in found:
        _attempt(item, item.drain, deadline, "flush_error")
    for item in found:
        _attempt(item, item.close, deadline, "close_error")


def _attempt(item: Closable, call: Callable[[float], bool | None], deadline: float, kind: str) -> bool:
    """Whether it succeeded. What it raises is counted and told by the part itself: the others have their turn all the same."""
    try:
        return call(deadline) is not False
    except Exception as error:  # noqa: BLE001 - a part may be anybody's
        item.counts.error(kind, error)
        return False


def _after_fork() -> None:
    """Raises, at the end, what a part's `after_fork` raised: the others have their own locks and sockets all the same."""
    errors: list[Exception] = []
    for item in list(live):
        try:
            item.after_fork()
        except Exception as error:  # noqa: BLE001 - a part may be anybody's; raised below
            errors.append(error)
    _watch_multiprocessing(forked=True)
    if errors:
        raise ExceptionGroup("metlog: after_fork", errors)


def _watch_uwsgi() -> None:
    """uWSGI forks its workers in C and does not run Python's fork hooks unless told to (`py-call-osafterfork`).

    What it calls in each worker is one function, `uwsgi.post_fork_hook`. Where there is a master, `uwsgidecorators` sets this, at
    its import, to a function that calls all of `postfork_chain`: `_after_fork` goes into that chain. Without a master that
    module cannot be imported, and `_after_fork` is called by a hook of metlog's own.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if not hasattr(uwsgi, "masterpid"):  # the package on PyPI has no such module: it is there inside uWSGI alone
        return
    try:
        import uwsgidecorators
    except Exception:  # noqa: BLE001 - not installed, or a bare Exception: there is no master
        before = getattr(uwsgi, "post_fork_hook", None)

        def forked() -> None:
            _after_fork()
            if before is not None:
                before()

        uwsgi.post_fork_hook = forked
    else:
        uwsgidecorators.postfork_chain.insert(0, _after_fork)


_PACKAGES: Final = ("multiprocessing", "billiard", "multiprocess")
"""Packages with the processes of the standard library: Celery's, and that of pathos and datasets."""

_watched: list[Callable[..., object]] = []  # `register_after_fork` of each package; billiard has the standard library's


def _watch_multiprocessing(*, forked: bool = False) -> None:
    """Children of `multiprocessing` end with os._exit: `atexit` does not run in them, their own finalizers do.

    A child clears its finalizers before it runs what is registered for it, whether it was forked, spawned, or forked by a
    server; in the last two metlog may be imported before that moment. Called again at each fork, for a package may
    be imported after metlog, and its `util` in the child only.
    """
    for package in _PACKAGES:
        process = sys.modules.get(f"{package}.process")
        if process is None:
            continue
        util = sys.modules.get(f"{package}.util")
        if util is None:
            if not forked:
                continue
            try:
                util = import_module(f"{package}.util")
            except Exception:  # noqa: BLE001, S112 - a package that is only half there has no children either
                continue
        if util.register_after_fork in _watched:
            continue
        _watched.append(util.register_after_fork)
        util.register_after_fork(close_all, lambda _, util=util: _in_child(util.Finalize))
        if _is_child(process):  # imported by what such a child runs: that moment has passed
            _in_child(util.Finalize)


def _is_child(process: Any) -> bool:
    if hasattr(process, "parent_process"):
        return process.parent_process() is not None
    return getattr(process.current_process(), "_parent_pid", None) is not None  # billiard


def _in_child(finalize: Callable[..., object]) -> None:
    finalize(None, close_all, exitpriority=-100)
    _watch_billiard_pool()


def _watch_billiard_pool() -> None:
    """Workers of billiard's pool, and so Celery's, end with os._exit past all finalizers, after a hook of their own."""
    worker: Any = getattr(sys.modules.get("billiard.pool"), "Worker", None)
    ends = getattr(worker, "_do_exit", None)
    if ends is None or getattr(ends, "_metlog", False):
        return

    @wraps(ends)
    def do_exit(self: Any, pid: int, exitcode: int, exc: BaseException | None = None) -> None:
        before = getattr(self, "on_exit", None)

        def on_exit(*args: Any) -> None:
            try:
                if before is not None:
                    before(*args)
            finally:
                close_all()

        self.on_exit = on_exit
        ends(self, pid, exitcode, exc)

    do_exit._metlog = True  # type: ignore[attr-defined]
    worker._do_exit = do_exit


def flush_on_signal(number: int = signal.SIGTERM, timeout: float = 2.0) -> None:
    """Flushes when a signal comes, for `timeout` seconds at most, then calls the handler that was set before (SIGTERM: end the process).

    Python's default for SIGTERM ends a process without `atexit`. Call it from the main thread, after other handlers are set.
    Raises MetlogError when the present handler was not set from Python: it could not be called afterwards.

    A handler interrupts the main thread. If that was building a frame, the handler cannot finish it: so it tries for a moment,
    returns, and has the signal sent again, until all is sent or the time is over.
    """
    before = signal.getsignal(number)
    if before is None:
        name = signal.Signals(number).name
        raise MetlogError(
            f"flush_on_signal({name}): its present handler was not set from Python and would be lost;"
            " call metlog.close() where the process is told to end"
        )
    end: float | None = None

    def handler(received: int, frame: FrameType | None) -> None:
        nonlocal end
        if end is None:
            end = deadline_in(timeout)
        if not flush_all(min(_TRY, end - monotonic())) and monotonic() < end and _send_again(received):
            return
        end = None
        if callable(before):
            before(received, frame)
        elif before == signal.SIG_DFL:
            signal.signal(received, signal.SIG_DFL)
            os.kill(os.getpid(), received)

    signal.signal(number, handler)


_TRY: Final = 0.05  # seconds of one try of a signal handler
_PAUSE: Final = 0.01  # seconds that the main thread gets between two tries


def _send_again(number: int) -> bool:
    def send() -> None:
        sleep(_PAUSE)
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    try:
        threading.Thread(target=send, name="metlog-signal", daemon=True).start()
    except RuntimeError:  # the interpreter is ending: no thread can be started
        return False
    return True


class job:  # noqa: N801 - used like a function
    """Everything logged inside is sent before it ends; a context manager and a decorator, `with` and `async with`.

    For workers that end or freeze before the flusher's turn comes: `os._exit` after each job (RQ), a frozen function runtime.
    `timeout` is what sending may add to a job, in seconds. Coroutine functions wait in a thread, so that their loop goes on.
    A generator's job is over when it is exhausted or closed.

    >>> @job(timeout=0.5)
    ... def handler(order):
    ...     return order + 1
    >>> handler(1)
    2
    """

    def __init__(self, timeout: float = 1.0) -> None:
        self.timeout = timeout

    def __enter__(self) -> job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        flush_all(self.timeout)

    async def __aenter__(self) -> job:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(flush_all, self.timeout)

    def __call__(self, function: F, /) -> F:
        """The function, each call of it a job; coroutine functions and generators (plain and async) as well."""
        return cast(F, around(function, lambda: self))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(close_all)
_watch_multiprocessing()
_watch_uwsgi()
