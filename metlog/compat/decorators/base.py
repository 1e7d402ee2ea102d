"""The base of the original's decorators: bound to their client at the first call, when the configuration is there."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from metlog.compat.client import CompatClient
from metlog.compat.decorators.util import return_fq_name
from metlog.compat.holder import CLIENT_HOLDER
from metlog.errors import MetlogError

__all__ = ["MetlogDecorator"]


class MetlogDecorator:
    """Base of decorators that look at the configuration at the first call, not at import.

    Subclasses implement `metlog_call`. `client=` or `client_name=` choose the client, else it is the holder's default.
    Until that is configured, the function is only called. A decorator whose class name is in the global setting
    `disabled_decorators` only calls the function for good.
    """

    def __init__(self, *args: Any, client: CompatClient | None = None, client_name: str = "", **kwargs: Any) -> None:
        self._client = client
        self.client_name = client_name
        self.args: tuple[Any, ...] | None = args
        self.kwargs: dict[str, Any] | None = kwargs
        self._fn: Callable[..., Any] | None = None
        self._fn_fq_name: str | None = None
        self._coroutine = False
        self._bound_call: Callable[..., Any] | None = None
        if len(args) == 1 and not kwargs and callable(args[0]):
            self.args = self.kwargs = None
            self.set_fn(args[0])

    @property
    def decorator_name(self) -> str:
        """What `disabled_decorators` calls it."""
        return type(self).__name__

    @property
    def client(self) -> CompatClient:
        """The client that was given, named, or is the default; MetlogError when there is none."""
        found = self._chosen()
        if found is None:
            raise MetlogError(f"{self.decorator_name}: no client; configure one, or give client= or client_name=")
        self._client = found
        return found

    def _chosen(self) -> CompatClient | None:
        if self._client is not None:
            return self._client
        return CLIENT_HOLDER.get_client(self.client_name) if self.client_name else CLIENT_HOLDER.default_client

    def predicate(self) -> bool:
        """Whether the first call binds to `metlog_call`, or to the bare function."""
        disabled = CLIENT_HOLDER.global_config.get("disabled_decorators") or ()
        return self.decorator_name not in ([disabled] if isinstance(disabled, str) else disabled)

    def set_fn(self, fn: Callable[..., Any]) -> None:
        """Takes the function to decorate; its name is `module.function`, without the class, as in the original."""
        self._fn = fn
        self._fn_fq_name = str(getattr(fn, "_fn_fq_name", None) or return_fq_name(fn))
        self._coroutine = inspect.iscoroutinefunction(fn) or getattr(fn, "_coroutine", False) is True
        functools.update_wrapper(self, fn, updated=())
        if self._coroutine and hasattr(inspect, "markcoroutinefunction"):  # Python 3.12: frameworks ask
            inspect.markcoroutinefunction(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._fn is None:
            if len(args) == 1 and not kwargs and callable(args[0]):
                self.set_fn(args[0])
                return self
            raise TypeError(f"{self.decorator_name} decorates a function")
        if self._bound_call is None:
            found = self._chosen()
            if found is None or not found.is_active:
                return self._fn(*args, **kwargs)  # not configured yet: ask again at the next call
            self._client = found
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

    def _arguments(self, **default: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the client is called with: as was given; the function's name where none was."""
        if self.args:
            return self.args, self.kwargs or {}
        return (), {"name": self._fn_fq_name, **default, **(self.kwargs or {})}
