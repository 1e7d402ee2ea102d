"""Fields for everything that is logged in the current context: a task, a thread, a request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

__all__ = ["context", "current", "merged", "request", "start_request"]

current: ContextVar[dict[str, Any] | None] = ContextVar("metlog_context", default=None)
"""The fields in force, merged; never changed in place."""


def merged(
    base: dict[str, Any], context: dict[str, Any] | None, bound: dict[str, Any], fields: dict[str, Any] | None
) -> dict[str, Any]:
    """The fields of an event, as a dict of its own: what is nearer to the call goes before what is further away."""
    return {**base, **(context or {}), **bound, **(fields or {})}


_request: ContextVar[dict[str, Any] | None] = ContextVar("metlog_request", default=None)
# One mapping a request. Threads, sync dependencies and tasks below a middleware run in *copies* of its context: what they
# set in a ContextVar never comes back, what they put into this shared object does.


class context:  # noqa: N801 - used like a function
    """Adds fields to every event of the current context (task or thread), from the call on.

    As a context manager it takes them back at the end of the block. Any name is allowed, `self` and `type` too. Within
    a request that a metlog middleware serves, the request's own event gets them as well.

    >>> with context(user="u1"):
    ...     current.get()
    {'user': 'u1'}
    >>> current.get() is None
    True
    """

    __slots__ = ("_token",)

    def __init__(self, /, **fields: Any) -> None:
        before = current.get()
        self._token: Token[dict[str, Any] | None] = current.set({**before, **fields} if before else fields)
        shared = _request.get()
        if shared is not None:
            shared.update(fields)

    def __enter__(self) -> context:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        current.reset(self._token)


def start_request() -> dict[str, Any]:
    """As `request`, for the rest of the current context: for code that runs in a copy, which is thrown away."""
    shared: dict[str, Any] = {}
    _request.set(shared)
    return shared


@contextmanager
def request() -> Iterator[dict[str, Any]]:
    """For middleware: one mapping that gathers what `context` adds anywhere below, threads included."""
    shared: dict[str, Any] = {}
    outer = current.get()
    request_token = _request.set(shared)
    token = current.set(dict(outer) if outer else None)
    try:
        yield shared
    finally:
        current.reset(token)
        _request.reset(request_token)
