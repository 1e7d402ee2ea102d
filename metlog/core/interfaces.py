"""What the core expects of a sender, an encoder and a filter. Re-exported by `metlog.senders`, `metlog.encoders`, `metlog.filters`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from metlog.event import Event

__all__ = ["Encoder", "Filter", "Records", "Sender"]


@runtime_checkable
class Sender(Protocol):
    """Takes frames somewhere.

    A complete one, registered as `spool = "mypackage:SpoolSender"` in the entry-point group `metlog.senders`:

    >>> import os
    >>> class SpoolSender:
    ...     max_frame = 65536
    ...     def __init__(self, *, path: str) -> None:
    ...         self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    ...     def send(self, frame: bytes) -> None:
    ...         os.write(self._file, frame)
    ...     def flush(self) -> None:
    ...         os.fsync(self._file)
    ...     def close(self) -> None:
    ...         os.close(self._file)

    Options are the constructor's keyword arguments, converted by their annotations.

    `send` may block and may raise: it runs in a background thread behind a queue bounded in bytes, one call at a time.
    What it raises is counted as dropped, under the exception's `reason` (see `metlog.errors.SenderError`) or
    `send_error`. These optional attributes change that:

    - `nonblocking = True`: `send` never waits (a datagram, a list). It is then called by the thread that fills a frame,
      one call at a time, without the queue.
    - `max_event` (bytes): the most that the transport can carry. A larger event has its payload cut and is marked
      `truncated`. Without it there is no limit.
    - `after_fork()`: called in a forked child before anything else, to drop what belongs to the parent (a socket that
      must not be shared) without telling the peer.
    - `deadline(seconds)`: called at shutdown: from then on all waiting inside `send`, `flush` and `close` together ends
      within that many seconds. Without it `close`, called from another thread, must make a `send` under way return.
    - `stats()`: counts (str to int) of what the sender learnt after `send` had returned, such as refused datagrams.
    - `open()`: called once, after everything in the configuration has proved right, for what should not wait for the
      first frame (a port to bind). It may raise ValueError or OSError. The constructor of a sender that has it opens
      nothing, and is called while other things may still be wrong.
    - `isatty()`: whether what is sent goes to a terminal, where text may have colours.
    - `probe()`: for `metlog doctor`: tries to reach the peer within some seconds, sends nothing that becomes an event,
      and yields what it saw: a text for what is well, a `metlog.errors.SenderError` for what is not.
    """

    max_frame: int
    """Bytes that a frame should not exceed; an event larger than that goes alone."""

    def send(self, frame: bytes) -> None:
        """Takes one frame. Raises when the frame is known to be lost."""
        ...

    def flush(self) -> None:
        """Hands on whatever the sender itself still holds."""
        ...

    def close(self) -> None:
        """Releases everything. Called once more, it does nothing."""
        ...


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


class Filter(Protocol):
    """A callable that keeps, changes or drops an event.

    A complete one, registered as `no_health = "mypackage:NoHealthChecks"` in the entry-point group `metlog.filters`:

    >>> class NoHealthChecks:
    ...     def __init__(self, *, path: str = "/healthz") -> None:
    ...         self._path = path
    ...     def __call__(self, event: Event) -> Event | None:
    ...         return None if event.fields.get("path") == self._path else event

    Options are the constructor's keyword arguments, converted by their annotations. It runs in the calling thread, before
    `seq` is given and before anything is encoded. It must not change the event in place when it was given
    `fields` by the caller: use `msgspec.structs.replace`. What it raises drops the event, counted under `filter_error`.

    Optional attributes:

    - `severity_max` (int): every event of a greater severity number would be dropped anyway, so that the
      client need not build it.
    - `by_severity_only` (True, beside `severity_max`): no other event is dropped and none is changed, so that it need not be asked.
    - `emit`: None until the pipeline sets it to a callable `(event) -> None` by which the filter
      can add an event of its own (`rate_limit` tells what it suppressed); it passes the filters behind this one.
    - `tick(now)`: called every so often with the time (monotonic seconds), in a thread of metlog's.
    - `close()`: called when the client closes, before the last flush.
    - `after_fork()`: called in a forked child, before it logs: to renew locks and forget what is the parent's.

    `metlog.testing.FilterConformance` is the suite that the built-in filters pass, for yours in three lines.
    """

    def __call__(self, event: Event, /) -> Event | None:
        """The event to go on with, or None to drop it."""
        ...
