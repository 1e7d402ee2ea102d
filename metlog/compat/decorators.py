"""The original's decorators: bound to their client at the first call, when the configuration is there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from metlog.compat.client import CLIENT_HOLDER, CompatClient
from metlog.errors import MetlogError

__all__ = ["MetlogDecorator", "incr_count", "timeit"]


class MetlogDecorator:
    """Base of decorators that look at the configuration at the first call, not at import.

    Subclasses implement `metlog_call`. `client=` or `client_name=` choose the client, else it is the holder's default.
    A decorator whose class name is in the global setting `disabled_decorators` only calls the function.
    """

    def __init__(self, *args: Any, client: CompatClient | None = None, client_name: str = "", **kwargs: Any) -> None:
        self._client = client
        self.client_name = client_name
        self.args: tuple[Any, ...] | None = args
        self.kwargs: dict[str, Any] | None = kwargs
        self._fn: Callable[..., Any] | None = None
        self._fn_fq_name: str | None = None
        self._bound_call: Callable[..., Any] | None = None
        if len(args) == 1 and not kwargs and callable(args[0]):
            self.args = self.kwargs = None
            self.set_fn(args[0])

    @property
    def client(self) -> CompatClient:
        """The client that was given, named, or is the default; MetlogError when there is none."""
        if self._client is None:
            found = CLIENT_HOLDER.get_client(self.client_name) if self.client_name else CLIENT_HOLDER.default_client
            if found is None:
                raise MetlogError(f"{type(self).__name__}: no client; configure one, or give client= or client_name=")
            self._client = found
        return self._client

    def predicate(self) -> bool:
        """Whether the first call binds to `metlog_call`, or to the bare function."""
        return type(self).__name__ not in CLIENT_HOLDER.global_config.get("disabled_decorators", ())

    def set_fn(self, fn: Callable[..., Any]) -> None:
        """Takes the function to decorate."""
        self._fn = fn
        inner = getattr(fn, "_fn_fq_name", None)
        name = inner or f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', repr(fn))}"
        self._fn_fq_name = str(name)
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._fn is None:
            if len(args) == 1 and not kwargs and callable(args[0]):
                self.set_fn(args[0])
                return self
            raise TypeError(f"{type(self).__name__} decorates a function")
        if self._bound_call is None:
            if CLIENT_HOLDER.default_client is None and self._client is None and not self.client_name:
                return self._fn(*args, **kwargs)  # not configured yet: ask again at the next call
            self._bound_call = self.metlog_call if self.predicate() else self._invoke
        return self._bound_call(*args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _invoke(self, *args: Any, **kwargs: Any) -> Any:
        assert self._fn is not None
        return self._fn(*args, **kwargs)

    def metlog_call(self, *args: Any, **kwargs: Any) -> Any:
        """What happens at each call; the base only calls the function."""
        return self._invoke(*args, **kwargs)

    def _call_arguments(self, **default: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self.args and not self.kwargs:
            return (), {"name": self._fn_fq_name, **default}
        return self.args or (), self.kwargs or {}


class timeit(MetlogDecorator):  # noqa: N801 - the original's name
    """Times every call: `@timeit`, or `@timeit("name", rate=0.1)`."""

    def predicate(self) -> bool:
        """Not when the timer is disabled."""
        args, kwargs = self._call_arguments()
        return not self.client.timer_disabled(args[0] if args else kwargs["name"]) and super().predicate()

    def metlog_call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function inside a timer."""
        timer_args, timer_kwargs = self._call_arguments()
        with self.client.timer(*timer_args, **timer_kwargs):
            return self._invoke(*args, **kwargs)


class incr_count(MetlogDecorator):  # noqa: N801 - the original's name
    """Counts every call, also one that raises: `@incr_count`, or `@incr_count("name", count=2)`."""

    def metlog_call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function, then counts."""
        count_args, count_kwargs = self._call_arguments(count=1)
        try:
            return self._invoke(*args, **kwargs)
        finally:
            self.client.incr(*count_args, **count_kwargs)
