"""Objects of others as full senders, encoders and filters. Optional members are looked for here, and nowhere else."""

from __future__ import annotations

from typing import Any, Final

from metlog.core.chance import Chance
from metlog.core.interfaces import BaseEncoder, BaseFilter, BaseSender, Encoder, Filter, Sender
from metlog.event import Event

__all__ = ["adapt_encoder", "adapt_filter", "adapt_sender", "name_of", "original"]

_SENDER: Final = (
    "max_frame", "nonblocking", "max_event", "fans_out", "open", "send", "flush", "close", "deadline", "after_fork", "stats",
    "isatty", "probe",
)  # fmt: skip
_ENCODER: Final = ("content_type", "overhead", "records", "sent_by", "encode", "frame", "decode")
_FILTER: Final = ("early", "early_needs_fields", "severity_max", "by_severity_only", "tick", "close", "after_fork")
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


def _take_over(adapted: object, inner: object, names: tuple[str, ...]) -> None:
    """Copies the members that `inner` has: calls go straight to its methods."""
    for name in names:
        found = getattr(inner, name, _MISSING)
        if found is not _MISSING:
            setattr(adapted, name, found)


def _own(inner: object, name: str) -> bool:
    """A member that is not inherited, as in the base classes: of the object's own class, or of the object."""
    return bool({**vars(type(inner)), **getattr(inner, "__dict__", {})}.get(name, False))


class _AdaptedSender(BaseSender):
    def __init__(self, inner: Sender) -> None:
        self.inner = inner
        _take_over(self, inner, _SENDER)
        self.concurrent = _own(inner, "concurrent")


class _AdaptedEncoder(BaseEncoder):
    def __init__(self, inner: Encoder) -> None:
        self.inner = inner
        _take_over(self, inner, _ENCODER)
        self.silent = _own(inner, "silent")

    @property
    def repaired(self) -> int:
        return int(getattr(self.inner, "repaired", 0))


class _AdaptedFilter(BaseFilter):
    def __init__(self, inner: Filter) -> None:
        self.inner = inner
        _take_over(self, inner, (*_FILTER, "emit"))
        self.ticking = "tick" in vars(self)

    def __call__(self, event: Event, /) -> Event | None:
        return self.inner(event)

    def __setattr__(self, name: str, value: Any) -> None:
        """What the pipeline sets is the adapted object's, where it has such a member."""
        if (name == "emit" and hasattr(self.inner, "emit")) or (
            name == "chance" and isinstance(getattr(self.inner, "chance", None), Chance)
        ):
            setattr(self.inner, name, value)
        super().__setattr__(name, value)
