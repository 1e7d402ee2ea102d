"""Frames back to events, for senders that show them to people or tests."""

from __future__ import annotations

from metlog.event import Event

__all__ = ["events_of"]


def events_of(frame: bytes) -> list[Event]:
    """The events of a JSON or MessagePack frame, told apart by its first byte; raises `metlog.errors.DecodeError`.

    JSON begins with `{` (or `[`, or white space); in MessagePack these bytes are small integers, which no event is.
    """
    if not frame:
        return []
    if frame[:1] in b"{[ \t\r\n":
        from metlog.encoders.json import JsonEncoder

        return JsonEncoder().decode(frame)
    from metlog.encoders.msgpack import MsgpackEncoder

    return MsgpackEncoder().decode(frame)
