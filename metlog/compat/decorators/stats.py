"""Decorators that time and count."""

from __future__ import annotations

from functools import partial
from typing import Any

from metlog.compat.decorators.base import MetlogDecorator
from metlog.core.calls import around

__all__ = ["incr_count", "timeit"]


class timeit(MetlogDecorator):  # noqa: N801 - the original's name
    """Times every call, of coroutine functions and generators to their end: `@timeit`, or `@timeit("name", rate=0.1)`."""

    def predicate(self) -> bool:
        """Not when the timer is disabled, by its name or the bare name of the function."""
        args, kwargs = self._arguments()
        names = {str(args[0] if args else kwargs["name"])}
        if not self.args:
            names.add(str(getattr(self._fn, "__name__", "")))
        return not any(map(self.client.timer_disabled, names)) and super().predicate()

    def metlog_call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function inside a timer, which lasts to the end of a coroutine or generator."""
        timer_args, timer_kwargs = self._arguments()
        return around(self._invoke_as_is(), partial(self.client.timer, *timer_args, **timer_kwargs))(*args, **kwargs)

    def _invoke_as_is(self) -> Any:
        assert self._fn is not None
        return self._fn


class incr_count(MetlogDecorator):  # noqa: N801 - the original's name
    """Counts every call, also one that raises: `@incr_count`, or `@incr_count("name", count=2)`."""

    def metlog_call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function, then counts."""
        count_args, count_kwargs = self._arguments(count=1)
        try:
            return self._invoke(*args, **kwargs)
        finally:
            self.client.incr(*count_args, **count_kwargs)
