"""Encoders: an event to bytes, and those to a frame. One file an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from metlog.event import Event

__all__ = ["Encoder", "Records"]


@runtime_checkable
class Encoder(Protocol):
    """Turns events into bytes, and several of those into one frame.

    A complete one, registered as `repr = "mypackage:ReprEncoder"` in the entry-point group `metlog.encoders`:

    >>> import ast, msgspec
    >>> from metlog import DecodeError
    >>> from metlog.values import sanitize
    >>> class ReprEncoder:
    ...     content_type = "text/x-python"
    ...     def encode(self, event):
    ...         sayable, _ = sanitize(event)  # a copy without NaN, loops, objects, …
    ...         return ascii(msgspec.to_builtins(sayable)).encode()
    ...     def frame(self, encoded):
    ...         return b"\\n".join([*encoded, b""])
    ...     def decode(self, frame):
    ...         try:
    ...             return [msgspec.convert(ast.literal_eval(line.decode()), Event) for line in frame.splitlines()]
    ...         except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, msgspec.MsgspecError) as error:
    ...             raise DecodeError(f"not what this encoder writes: {error}") from error
    >>> encoder = ReprEncoder()
    >>> encoder.decode(encoder.frame([encoder.encode(Event(type="login"))]))[0].type
    'login'

    Options are the constructor's keyword arguments. `encode` is called by many threads at once, on the hot path; what
    it raises is counted, never seen by the application.

    Optional attributes: `repaired` (int) counts the events whose values had to be changed to be sayable (see
    `metlog.values`); `overhead` (int) is how many bytes `frame` adds on top of what a frame of its content would have,
    for an encoder that wraps its frames in something; `silent` (true) says that `encode` never logs, not even
    through others, which spares a check; `sent_by(sender)` is called with the sender that gets the frames, before the
    first one; `records` (see `Records`) lets the usual event be encoded together with its frame.

    `metlog.testing.EncoderConformance` is the suite that the built-in encoders pass, for yours in three lines.
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


class Records(Protocol):
    """Optional, for speed: an event whose fields cannot change any more is kept as a record, and a frame's are encoded at once.

    Only events without anything odd come this way: text, true and false, null, integers and finite floats as fields, weight 1, no filters.
    All others go through `Encoder.encode` at the call.
    """

    @property
    def make(self) -> Callable[..., Any]:
        """Makes a record of (timestamp, type, tokens, severity, payload, fields, seq, origin)."""
        ...

    def origin(self, event: Event) -> Any:
        """What all records of a stream share, taken from one event of it."""
        ...

    @property
    def frame(self) -> Callable[[list[Any]], bytes]:
        """A frame of records, and of `msgspec.Raw` that hold events already encoded. May raise: then each goes by itself."""
        ...

    def split(self, frame: bytes) -> list[bytes]:
        """A frame for each event of such a frame, for one that became too long. Frames one after another are a frame."""
        ...

    def event(self, record: Any) -> Event:
        """The event that a record stands for."""
        ...
