"""What kind of callable a decorator was given, and how each kind is put inside a block to its end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing
from typing import Any, Literal

__all__ = ["Kind", "around", "around_async_generator", "around_coroutine", "around_generator", "kind_of"]

Kind = Literal["plain", "coroutine", "generator", "async generator"]


def kind_of(function: Any) -> Kind:
    """Whether a call gives a result, a coroutine, a generator or an async generator.

    Looks through `functools.partial`, methods, static and class methods, and at `__call__` of other objects.
    """
    for _ in range(32):  # partials of partials; an object's `__call__` may be an object again
        if inspect.iscoroutinefunction(function):  # also what says so of itself (inspect.markcoroutinefunction)
            return "coroutine"
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, staticmethod | classmethod) or inspect.ismethod(function):
            function = function.__func__
        elif inspect.isfunction(function) or inspect.isbuiltin(function) or isinstance(function, type):
            break
        else:
            function = type(function).__call__ if callable(function) else None
            if function is None:
                break
    if inspect.isasyncgenfunction(function):
        return "async generator"
    return "generator" if inspect.isgeneratorfunction(function) else "plain"


def around(function: Callable[..., Any], block: Callable[[], Any]) -> Any:
    """The function, of whichever kind, each call of it inside a `block()`, which is both kinds of context manager."""
    kind = kind_of(function)
    if kind == "coroutine":
        return around_coroutine(function, block)
    if kind == "generator":
        return around_generator(function, block)
    if kind == "async generator":
        return around_async_generator(function, block)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    return wrapped


def around_coroutine(function: Callable[..., Any], block: Callable[[], AbstractAsyncContextManager[Any]]) -> Any:
    """The coroutine function, each call of it inside a `block()`."""

    @functools.wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        async with block():
            return await function(*args, **kwargs)

    return wrapped


def around_generator(function: Callable[..., Any], block: Callable[[], AbstractContextManager[Any]]) -> Any:
    """The generator function: the `block()` lasts from the first item asked for until the end, or until it is closed."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with block():
            return (yield from function(*args, **kwargs))

    return wrapped


def around_async_generator(function: Callable[..., Any], block: Callable[[], AbstractAsyncContextManager[Any]]) -> Any:
    """As `around_generator`. What the consumer sends and throws reaches the function, as `yield from` would do it."""

    @functools.wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        async with block(), aclosing(function(*args, **kwargs)) as items:
            try:
                item = await anext(items)
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the function to see
                        item = await items.athrow(error)
                    else:
                        item = await items.asend(sent)
            except StopAsyncIteration:
                return

    return wrapped
