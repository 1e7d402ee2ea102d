"""Frames back to events, for senders that show them to people or tests."""

from __future__ import annotations

from metlog.event import Event

__all__ = ["events_of"]


def events_of(frame: bytes) -> list[Event]:
    """The events of a JSON or MessagePack frame, told apart by its first byte; raises `metlog.errors.DecodeError`."""
    from metlog.encoders.wire import decode

    return decode(frame)
