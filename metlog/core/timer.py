"""Timers: one object, a decorator and a context manager."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from functools import wraps
from time import perf_counter
from types import CoroutineType, TracebackType
from typing import Any, Protocol, TypeVar, cast

from metlog.core.calls import around_async_generator, around_generator, kind_of

__all__ = ["DisabledTimer", "Timer"]

F = TypeVar("F", bound=Callable[..., Any])


_Start = tuple["Timer", float]

_starts: ContextVar[tuple[_Start, ...]] = ContextVar("metlog_timer_starts", default=())
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
    A block may be left in another thread, task or `contextvars.Context` than it was entered in.
    """

    __slots__ = ("_client", "_free", "_name", "_others", "_outer", "_rate", "_result", "_start")

    def __init__(self, client: TimerClient, name: str, rate: float) -> None:
        self._client = client
        self._name = name
        self._rate = rate
        self._free = True  # taken by the one that enters first
        self._others: list[_Start] | None = None
        """Starts of those that entered meanwhile, for a block that is left in another context."""
        self._result: float | None = None

    @property
    def result(self) -> float | None:
        """Milliseconds of the last block or call in this thread or task; None before the first."""
        last = _last.get()
        return last[1] if last is not None and last[0] is self else self._result

    def __enter__(self) -> Timer:
        if self._free:
            # Nothing can come between the two: signals come, and threads take turns, at calls and jumps back only.
            self._free = False
            self._outer = _starts.get()
            self._start = perf_counter()
        else:
            start = (self, perf_counter())
            if self._others is None:
                self._others = []
            self._others.append(start)
            _starts.set((*_starts.get(), start))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = perf_counter()
        starts = _starts.get()
        if not self._free and (starts is self._outer or starts == self._outer):
            # The context is as it was when the first block was entered: that block ends here.
            ms = self._result = (end - self._start) * 1000.0
            self._free = True
            last = _last.get()
            if last is not None and last[0] is self:
                _last.set((self, ms))
            self._send(ms)
            return
        others = self._others or []
        for index in range(len(starts) - 1, -1, -1):
            start = starts[index]
            if start[0] is self:
                _starts.set(starts[:index] + starts[index + 1 :])
                with suppress(ValueError):
                    others.remove(start)
                self._done(start[1], end)
                return
        # It was entered in another context: as which of those that are still entered cannot be known; as the youngest, then.
        try:
            self._done(others.pop()[1], end)
        except IndexError:
            if not self._free:
                self._free = True
                self._done(self._start, end)

    async def __aenter__(self) -> Timer:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _done(self, start: float, end: float) -> None:
        ms = (end - start) * 1000.0
        _last.set((self, ms))
        self._send(ms)

    def _send(self, ms: float) -> None:
        self._client.timer_send(self._name, ms, rate=self._rate)

    def __call__(self, function: F, /) -> F:
        """The function, each call timed to its end.

        A coroutine is timed until it returns; a generator, plain or async, from the first item asked for until it is exhausted or
        closed, the time of its consumer included. Partials, methods and objects with such a `__call__` as well.
        """
        kind = kind_of(function)
        if kind == "coroutine":

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
        if kind == "generator":
            return cast(F, around_generator(function, self._call))
        if kind == "async generator":
            return cast(F, around_async_generator(function, self._call))

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._client.timer_disabled(self._name):
                return function(*args, **kwargs)
            start, over = perf_counter(), True
            try:
                result = function(*args, **kwargs)
                if result.__class__ is CoroutineType:  # of a function that only hands on what another made
                    over = False
                    return self._awaited(result, start)
                return result
            finally:
                if over:
                    self._done(start, perf_counter())

        return cast(F, wraps(function)(timed))

    async def _awaited(self, coroutine: CoroutineType[Any, Any, Any], start: float) -> Any:
        try:
            return await coroutine
        finally:
            self._done(start, perf_counter())

    def _call(self) -> _Call | nullcontext[None]:
        return nullcontext() if self._client.timer_disabled(self._name) else _Call(self)


class _Call:
    """One call of a decorated generator."""

    __slots__ = ("_start", "_timer")

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def __enter__(self) -> None:
        self._start = perf_counter()

    def __exit__(self, *exc: object) -> None:
        self._timer._done(self._start, perf_counter())

    async def __aenter__(self) -> None:
        self._start = perf_counter()

    async def __aexit__(self, *exc: object) -> None:
        self._timer._done(self._start, perf_counter())


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
