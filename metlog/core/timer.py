"""Timers: one object, a decorator and a context manager."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from time import perf_counter
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

__all__ = ["DisabledTimer", "Timer"]

F = TypeVar("F", bound=Callable[..., Any])


_starts: ContextVar[tuple[tuple[Timer, float], ...]] = ContextVar("metlog_timer_starts", default=())
_last: ContextVar[tuple[Timer, float] | None] = ContextVar("metlog_timer_last", default=None)


class TimerClient(Protocol):
    """What a timer needs of the client that made it."""

    def timer_send(self, name: str, ms: float, /, *, rate: float = 1.0) -> None:
        """Logs that something took `ms` milliseconds."""

    def timer_disabled(self, name: str) -> bool:
        """Whether the configuration disables timers of this name."""


class Timer:
    """Times a block or every call of a function, and logs an event of type `timer` with `name` and `ms`.

    One object may be entered by many threads and tasks at once, and again while it is entered (recursion). The first to enter keeps
    its start in the object, which is the usual case and cheap; all others, and results, are kept in the context (thread or task).
    """

    __slots__ = ("_client", "_free", "_name", "_outer", "_rate", "_result", "_start")

    def __init__(self, client: TimerClient, name: str, rate: float) -> None:
        self._client = client
        self._name = name
        self._rate = rate
        self._free = [True]  # popped by the one that enters first: the only atomic step there is
        self._result: float | None = None

    @property
    def result(self) -> float | None:
        """Milliseconds of the last block or call in this thread or task; None before the first."""
        last = _last.get()
        return last[1] if last is not None and last[0] is self else self._result

    def __enter__(self) -> Timer:
        starts = _starts.get()
        try:
            self._free.pop()
        except IndexError:
            _starts.set((*starts, (self, perf_counter())))
        else:
            self._outer = starts
            self._start = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = perf_counter()
        starts = _starts.get()
        if not self._free and starts == self._outer:  # as it was when the first one entered: this is that one
            ms = self._result = (end - self._start) * 1000.0
            self._free.append(True)
            last = _last.get()
            if last is not None and last[0] is self:
                _last.set((self, ms))
            self._send(ms)
            return
        for index in range(len(starts) - 1, -1, -1):
            if starts[index][0] is self:
                _starts.set(starts[:index] + starts[index + 1 :])
                self._done(starts[index][1], end)
                return

    def _done(self, start: float, end: float) -> None:
        ms = (end - start) * 1000.0
        _last.set((self, ms))
        self._send(ms)

    def _send(self, ms: float) -> None:
        self._client.timer_send(self._name, ms, rate=self._rate)

    def __call__(self, function: F, /) -> F:
        """The function, timed; coroutine functions, generators' calls and `functools.partial` objects as well."""
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def timed_async(*args: Any, **kwargs: Any) -> Any:
                if self._client.timer_disabled(self._name):
                    return await function(*args, **kwargs)
                start = perf_counter()
                try:
                    return await function(*args, **kwargs)
                finally:
                    self._done(start, perf_counter())

            return cast(F, timed_async)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._client.timer_disabled(self._name):
                return function(*args, **kwargs)
            start = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._done(start, perf_counter())

        return cast(F, wraps(function)(timed))


class DisabledTimer(Timer):
    """Returned by `timer()` for a disabled name: a block costs next to nothing, and sends nothing.

    A function that it decorates asks again at each call, since the configuration may change.
    """

    __slots__ = ()

    def __enter__(self) -> Timer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
