"""Encoders: an event to bytes, and those to a frame. One file an encoder."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from metlog.event import Event

__all__ = ["Encoder"]


@runtime_checkable
class Encoder(Protocol):
    """Turns events into bytes, and several of those into one frame.

    A complete one, registered as `repr = "mypackage:ReprEncoder"` in the entry-point group `metlog.encoders`:

    >>> import ast, msgspec
    >>> class ReprEncoder:
    ...     content_type = "text/x-python"
    ...     def encode(self, event):
    ...         return repr(msgspec.to_builtins(event)).encode("ascii", "backslashreplace")
    ...     def frame(self, encoded):
    ...         return b"\\n".join([*encoded, b""])
    ...     def decode(self, frame):
    ...         return [msgspec.convert(ast.literal_eval(line.decode()), Event) for line in frame.splitlines()]
    >>> encoder = ReprEncoder()
    >>> encoder.decode(encoder.frame([encoder.encode(Event(type="login"))]))[0].type
    'login'

    Options are the constructor's keyword arguments. `encode` is called by many threads at once, on the hot path; what
    it raises is counted, never seen by the application.

    Two optional attributes: `repaired` (int) counts the events whose values had to be changed to be sayable (see
    `metlog.values`); `overhead` (int) is how many bytes `frame` adds on top of what a frame of its content would have,
    for an encoder that wraps its frames in something.
    """

    content_type: str
    """Media type of a frame, for senders that name it (HTTP)."""

    def encode(self, event: Event) -> bytes:
        """One event as bytes."""
        ...

    def frame(self, encoded: list[bytes]) -> bytes:
        """Several encoded events as one frame: what one datagram, message or request body holds."""
        ...

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises `metlog.errors.DecodeError` that says what is wrong with it."""
        ...
