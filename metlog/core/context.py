"""Fields for everything that is logged in the current context: a task, a thread, a request."""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

__all__ = ["FIXED", "Kept", "Layer", "context", "current", "is_fixed", "merged"]

current: ContextVar[dict[str, Any] | None] = ContextVar("metlog_context", default=None)
"""The fields in force, merged; never changed in place."""

_current, _set = current.get, current.set


def merged(
    base: dict[str, Any], context: dict[str, Any] | None, bound: dict[str, Any], fields: dict[str, Any] | None
) -> dict[str, Any]:
    """The fields of an event, as a dict of its own: what is nearer to the call goes before what is further away."""
    return {**base, **(context or {}), **bound, **(fields or {})}


FIXED: Final = frozenset({bool, type(None)})
"""Beside str, int of 64 bits and finite float: types of values that cannot change any more, and are written as they are."""

Kept = tuple[dict[str, Any], dict[str, Any], dict[str, Any], bool]
"""Fields of the configuration, of a client, both and those of a context together, and whether all of these are fixed."""


def is_fixed(fields: dict[str, Any]) -> bool:
    """Whether all names are text, and no value can change any more."""
    for name, value in fields.items():
        if type(name) is not str:
            return False
        kind = type(value)
        if kind is str:
            continue
        if kind is float:
            if value - value:  # NaN or infinite
                return False
        elif kind is int:
            if value > 0x7FFFFFFFFFFFFFFF or value < -0x8000000000000000:
                return False
        elif kind not in FIXED:
            return False
    return True


_request: ContextVar[dict[str, Any] | None] = ContextVar("metlog_request", default=None)
# One mapping a request. Threads, sync dependencies and tasks below a middleware run in *copies* of its context: what they
# set in a ContextVar never comes back, what they put into this shared object does.


class Layer(dict[str, Any]):
    """The fields in force after one `context` was made or entered.

    A `contextvars.Token` cannot be used: it raises in every other Context than its own, and code that enters in one and
    leaves in another is common (sync generators in a thread pool, dependencies of FastAPI, async generators closed by a task).
    """

    __slots__ = ("before", "below", "held", "kept")

    before: dict[str, Any] | None
    """The fields to put back."""
    below: Layer | None
    """The next layer down that can be left."""
    held: bool
    """Whether this one can be left: there is an object that made it, and has not left it."""
    kept: Kept | None
    """These fields with those of a configuration and of a client, the last that logged here."""

    def nearest(self) -> Layer | None:
        """This layer, or the next one down that can be left. The others let go of what is below: calls in a loop make no chain."""
        below = self.below
        if below is not None and not below.held:
            below.before = None
            self.below = below.below
        if self.held:
            return self
        self.before = None
        return self.below


class context:  # noqa: N801 - used like a function
    """Adds fields to every event of the current context (task or thread), from the call on.

    As a context manager it takes them back at the end of the block; one object can be entered again, and in several threads
    at once. A block that is left in another `contextvars.Context` than it was entered in takes them back where it is left,
    if they are in force there, and raises nothing. Any name is allowed, `self` and `type` too. Within a request that a
    metlog middleware serves, the request's own event gets them as well.

    >>> with context(user="u1"):
    ...     current.get()
    {'user': 'u1'}
    >>> current.get() is None
    True
    """

    __slots__ = ("_entered", "_fields", "_layers")

    def __init__(self, /, **fields: Any) -> None:
        self._fields = fields
        self._entered = False
        self._layers: list[Layer] = []
        self._add()

    def _add(self) -> None:
        before = _current()
        if before is None:
            layer = Layer(self._fields)
            layer.below = None
        else:
            layer = Layer(before)
            layer.update(self._fields)
            layer.below = before.nearest() if isinstance(before, Layer) else None
        layer.before, layer.kept = before, None
        layer.held = True
        self._layers.append(layer)
        _set(layer)
        shared = _request.get()
        if shared is not None:
            shared.update(self._fields)

    def _find(self) -> Layer | None:
        """The topmost layer of this object in the current Context."""
        top = _current()
        layer = top if isinstance(top, Layer) else None
        while layer is not None:
            for mine in self._layers:
                if mine is layer:  # not `in`: layers are dicts, and may be equal
                    return mine
            layer = layer.below
        return None

    def __enter__(self) -> context:
        layers = self._layers
        if self._entered or not layers or (layers[-1] is not _current() and self._find() is None):
            self._add()
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        layers = self._layers
        if layers and _current() is layers[-1]:  # the usual case, at a third of the price
            layer: Layer | None = layers.pop()
            assert layer is not None
            _set(layer.before)
            layer.held = False
            return
        layer = self._find()
        if layer is not None:
            _set(layer.before)
        elif layers:  # entered in another Context: as one of those still there, and the last is the nearest guess
            layer = layers[-1]
        else:
            return
        layer.held = False
        self._layers = [mine for mine in layers if mine is not layer] if len(layers) > 1 else []

    def __del__(self) -> None:
        for layer in self._layers:
            layer.held = False
