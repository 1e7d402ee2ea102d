"""Objects of others as full senders, encoders and filters. Optional members are looked for here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from metlog.core.chance import Chance
from metlog.core.interfaces import BaseEncoder, BaseFilter, BaseSender, Encoder, Filter, Sender
from metlog.event import Event

__all__ = ["adapt_encoder", "adapt_filter", "adapt_sender", "name_of", "original"]

_NOT_COPIED: Final = frozenset((
    "concurrent", "silent", "early", "early_needs_fields", "by_severity_only", "ticking",  # a subclass may have to say it again
    "logger", "emit", "chance",  # set by the pipeline
    "transmit", "repaired",  # change while they are in use
))  # fmt: skip
"""Hooks that an adapter does not copy from the object in it, but sees to by itself; all others of the base class are copied."""
_MISSING: Final = object()


def adapt_sender(sender: Sender | BaseSender) -> BaseSender:
    """Returns the sender itself, or one with the defaults of `BaseSender` around an object that does not inherit it."""
    return sender if isinstance(sender, BaseSender) else _AdaptedSender(sender)


def adapt_encoder(encoder: Encoder | BaseEncoder) -> BaseEncoder:
    """As `adapt_sender`."""
    return encoder if isinstance(encoder, BaseEncoder) else _AdaptedEncoder(encoder)


def adapt_filter(filter: Filter | BaseFilter) -> BaseFilter:
    """As `adapt_sender`."""
    return filter if isinstance(filter, BaseFilter) else _AdaptedFilter(filter)


def original(part: Any) -> Any:
    """Returns the object that was adapted; any other as it is."""
    return part.inner if isinstance(part, _AdaptedSender | _AdaptedEncoder | _AdaptedFilter) else part


def name_of(part: object) -> str:
    """Returns the name of a function or class, or that of an object's class, for messages."""
    return str(getattr(part, "__qualname__", None) or type(part).__qualname__)


def _copy(adapted: object, base: type, inner: object) -> None:
    """Copies the members that `inner` has of those in `base`: calls go straight to its methods."""
    for name in vars(base):
        if not name.startswith("_") and name not in _NOT_COPIED:
            found = getattr(inner, name, _MISSING)
            if found is not _MISSING:
                setattr(adapted, name, found)


def _own(inner: object, name: str) -> bool:
    """A member that is not inherited, as in the base classes: of the object's own class, or of the object."""
    return bool({**vars(type(inner)), **getattr(inner, "__dict__", {})}.get(name, False))


def _of(inner: object, name: str, other: str, default: Any) -> Any:
    """Returns a member that is lost, as in the base classes, where a class below the one that has it defines `other` anew."""
    if name not in getattr(inner, "__dict__", {}):
        for kind in type(inner).__mro__:
            if name in vars(kind):
                break
            if other in vars(kind):
                return default
        else:
            return default
    return getattr(inner, name, default)


class _AdaptedSender(BaseSender):
    def __init__(self, inner: Sender) -> None:
        self.inner = inner
        _copy(self, BaseSender, inner)
        self.concurrent = _own(inner, "concurrent")

    @property
    def transmit(self) -> Callable[[bytes], object] | None:  # type: ignore[override] # it may be another one for each frame
        found: Callable[[bytes], object] | None = getattr(self.inner, "transmit", None)
        return found


class _AdaptedEncoder(BaseEncoder):
    def __init__(self, inner: Encoder) -> None:
        self.inner = inner
        _copy(self, BaseEncoder, inner)
        self.silent = _own(inner, "silent")

    @property
    def repaired(self) -> int:
        return int(getattr(self.inner, "repaired", 0))


class _AdaptedFilter(BaseFilter):
    def __init__(self, inner: Filter) -> None:
        self.inner = inner
        _copy(self, BaseFilter, inner)
        self.early = _of(inner, "early", "__call__", None)
        self.early_needs_fields = bool(_of(inner, "early_needs_fields", "early", True))
        self.by_severity_only = bool(_of(inner, "by_severity_only", "__call__", False))
        self.ticking = bool(getattr(inner, "ticking", "tick" in vars(self)))
        vars(self)["emit"] = getattr(inner, "emit", None)  # not set: it is the object's own

    def __call__(self, event: Event, /) -> Event | None:
        return self.inner(event)

    def __setattr__(self, name: str, value: Any) -> None:
        """What the pipeline sets is the adapted object's, where it has such a member."""
        if _is_hook(name, vars(self).get("inner")):
            setattr(self.inner, name, value)
        super().__setattr__(name, value)


def _is_hook(name: str, inner: object) -> bool:
    """Whether a filter has such a member for the pipeline to set. Of `logger` and `chance` others may make something of their own."""
    found = getattr(inner, name, _MISSING)
    if name == "logger":  # at its default, in the object or its class: else it is an option, say, or a logger of stdlib
        return any([type(item) is str and not item for item in (found, getattr(type(inner), name, None))])
    return isinstance(found, Chance) if name == "chance" else name == "emit" and found is not _MISSING
