"""The route template of a Django request, for the WSGI and ASGI middleware.

Django leaves its request nowhere that a middleware around it could find; so the handler is made to put it into the environ or
scope. `MetlogMiddleware(get_wsgi_application())` does so by itself. Where something else stands between the two, `watch` does.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final, TypeVar

__all__ = ["FAULT", "is_handler", "route_of", "watch"]

KEY: Final = "metlog.django.request"
FAULT: Final = "metlog.error"
"""Under which the exception stands that Django has answered by itself, with a status 500."""

T = TypeVar("T")


def is_handler(application: Any) -> bool:
    """Whether this is what Django's `get_wsgi_application` or `get_asgi_application` gives; imports no Django."""
    kind = getattr(application, "request_class", None)
    return isinstance(kind, type) and any(base.__module__.startswith("django.core.handlers.") for base in kind.__mro__)


def watch(handler: T) -> T:
    """Makes a Django handler leave each request where the middleware finds it; gives the handler back."""
    known: type[Any] = handler.request_class  # type: ignore[attr-defined]
    if getattr(known, "_metlog_watched", False):
        return handler

    class Watched(known):  # type: ignore[misc] # the class is known at run time only
        _metlog_watched = True

        def __init__(self, place: Any, *rest: Any, **more: Any) -> None:
            super().__init__(place, *rest, **more)
            place[KEY] = self  # the environ or the scope

    _listen()
    Watched.__name__ = Watched.__qualname__ = known.__name__
    handler.request_class = Watched  # type: ignore[attr-defined]
    return handler


def _listen() -> None:
    """Hears of exceptions that Django answers by itself, and leaves each where the middleware finds it."""
    from django.core.signals import got_request_exception

    got_request_exception.connect(_failed, dispatch_uid="metlog")


def _failed(request: Any = None, **_: Any) -> None:
    error = sys.exc_info()[1]
    place = getattr(request, "environ", None) or getattr(request, "scope", None)
    if error is not None and isinstance(place, dict):
        place[FAULT] = error


def route_of(place: MutableMapping[str, Any]) -> str | None:
    """The template that the request in this environ or scope was resolved to, with a leading slash; None without one.

    Takes the request out again: it holds the environ, and would wait for the garbage collector.
    """
    if KEY not in place:
        return None
    request = place.pop(KEY)
    match = getattr(request, "resolver_match", None)
    return None if match is None else _readable(match.route)


@lru_cache(maxsize=1024)
def _readable(route: str) -> str:
    """`^users/(?P<pk>[0-9]+)/$` as `/users/<pk>/`, which is how `path()` writes it."""
    if "(" in route or "^" in route or "$" in route or "\\" in route:
        try:
            from django.contrib.admindocs import utils

            for change in (
                utils.replace_named_groups, utils.replace_unnamed_groups, utils.remove_non_capturing_groups,
                utils.replace_metacharacters,
            ):  # fmt: skip
                route = change(route)
        except (ImportError, AttributeError):
            pass  # a Django without these: the pattern itself is a template too
    return route if route.startswith("/") else f"/{route}"
