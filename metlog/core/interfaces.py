"""What the core expects of a sender, an encoder and a filter: a Protocol each, and a base class with a default for every hook.

`metlog.senders`, `metlog.encoders` and `metlog.filters` re-export them. An object that has the methods of the Protocol alone is
taken as well: `metlog.core.adapt` gives it the defaults. docs/extending.md says when each hook is called, and from which thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from metlog.core.chance import Chance, chance
from metlog.errors import SenderError
from metlog.event import Event

__all__ = ["BaseEncoder", "BaseFilter", "BaseSender", "Encoder", "Filter", "Records", "Sender"]


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
    What it raises is counted as dropped, under the `reason` of a `metlog.errors.SenderError`, any other exception under
    `send_error`. `BaseSender` has the hooks that change this; a class that does not inherit it may have any of them.
    """

    max_frame: int
    """Bytes that a frame should not exceed; an event larger than that goes alone."""

    def send(self, frame: bytes) -> None:
        """Takes one frame. Raises when the frame is known to be lost."""
        ...

    def flush(self) -> None:
        """Hands on what the sender itself still holds."""
        ...

    def close(self) -> None:
        """Releases everything. Called once more, it does nothing."""
        ...


class BaseSender:
    """A sender with every hook at its default. Subclasses write `send` and set `max_frame`.

    The constructor checks its options and opens nothing: it is called while other settings may still be wrong.
    """

    max_frame: int = 65536
    """Bytes that a frame should not exceed; an event larger than that goes alone."""
    nonblocking: bool = False
    """True: `send` never waits (a datagram, a list). The thread that fills a frame calls it, without a queue."""
    concurrent: bool = False
    """True, beside `nonblocking`: several threads may call `send` at once, and a signal handler in the middle of a call, since
    each frame goes whole by itself; and `send` does not log. Spares locks where each event is a frame (`flush_interval = 0`). Not
    inherited: a subclass may hold more."""
    transmit: Callable[[bytes], object] | None = None
    """Of a `concurrent` sender, for speed: what `send` calls, to be called straight away. An OSError of it goes to `recover`."""
    max_event: int | None = None
    """Bytes that the transport can carry: the payload of a larger event is cut, and the event marked `truncated`. None: no
    limit."""
    fans_out: bool = False
    """True: takes events, not frames, and hands each to its branches (`tee`)."""
    branch_settings: Sequence[dict[str, Any]] = ()
    """The settings of each branch of a sender that fans out."""
    parts: Sequence[Any] = ()
    """Of a sender that hands frames to others (`fallback`): the component (`metlog.plugins.Component`) of each."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "concurrent" not in vars(cls):
            cls.concurrent = False

    def open(self) -> None:
        """Opens what should not wait for the first frame (a port to bind); may raise ValueError or OSError."""

    def send(self, frame: bytes) -> None:
        """Takes one frame. Raises when the frame is known to be lost."""
        raise NotImplementedError

    def recover(self, frame: bytes, error: OSError, used: Callable[[bytes], object]) -> None:
        """Goes on as `send` does when `used`, which was in `transmit`, has raised `error`."""
        raise error

    def flush(self) -> None:
        """Hands on what the sender itself still holds."""

    def close(self) -> None:
        """Releases everything, and makes a `send` under way in another thread return. Called once more, it does nothing."""

    def deadline(self, seconds: float) -> None:
        """Says that from now on all waiting inside `send`, `flush` and `close` together has to end within so many seconds."""

    def after_fork(self) -> None:
        """Drops what belongs to the parent process (a socket that must not be shared) without telling the peer."""

    def stats(self) -> dict[str, int]:
        """Returns counts of what the sender learnt after `send` had returned, such as refused datagrams."""
        return {}

    def on_loss(self, lost: Callable[[str, int], None]) -> None:
        """Is told once, before the first frame, whom to tell of losses that are only known after `send` has returned: `lost(reason,
        events)`, to be called within this sender's own methods, and without a lock that `send` needs, since it logs a warning and calls
        the application's `on_drop`. The events then count as dropped, no longer as sent."""

    def encoded_by(self, encoder: BaseEncoder) -> None:
        """Says which encoder makes the frames, for a sender that names their media type."""

    def isatty(self) -> bool:
        """Returns whether frames go to a terminal, where text may have colours."""
        return False

    def probe(self) -> Iterator[str | SenderError] | None:
        """Tries to reach the peer within some seconds, without sending what would become an event.

        Yields a text for what is well, a SenderError for what is not. None: `metlog doctor` goes by the options instead.
        """
        return None


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
    ...         converted, _ = sanitize(event)  # a copy without NaN, loops, objects, …
    ...         return ascii(msgspec.to_builtins(converted)).encode()
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

    Options are the constructor's keyword arguments. `encode` is called by many threads at once, on the fast path; what
    it raises is counted, never seen by the application. `BaseEncoder` has the optional hooks.

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


class BaseEncoder:
    """An encoder with every hook at its default. Subclasses write `encode`, `frame` and `decode`, and set `content_type`."""

    content_type: str = "application/octet-stream"
    """Media type of a frame, for senders that name it (HTTP)."""
    overhead: int = 0
    """Bytes that `frame` adds to a frame of the same events without it, for an encoder that wraps frames."""
    silent: bool = False
    """True: `encode` never logs, not even through others, which spares a check. Not inherited: a subclass may log."""
    records: Records | None = None
    """For speed: events are kept as records, and encoded together with their frame. See `Records`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "silent" not in vars(cls):
            cls.silent = False

    @property
    def repaired(self) -> int:
        """How many events had a value that had to be converted, since JSON has no such value (see `metlog.values`)."""
        return 0

    def sent_by(self, sender: BaseSender) -> None:
        """Says which sender takes the frames."""

    def encode(self, event: Event) -> bytes:
        """One event as bytes."""
        raise NotImplementedError

    def frame(self, encoded: list[bytes]) -> bytes:
        """Several encoded events as one frame: what one datagram, message or request body holds."""
        raise NotImplementedError

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises `metlog.errors.DecodeError` that says what is wrong with it."""
        raise NotImplementedError


class Records(Protocol):
    """Optional, for speed: an event whose fields cannot change any more is kept as a record, and a frame's are encoded at once.

    Only the usual event comes this way: text, true and false, null, integers and finite floats as fields, and filters that need
    no event (`BaseFilter.early`). All others go through `Encoder.encode` at the call.
    """

    def maker(self, event: Event) -> tuple[Callable[..., Any], Any]:
        """What makes a record of (timestamp, type, tokens, severity, payload, fields, seq, origin), and that origin: what all
        records of a stream share, taken from one event of it."""
        ...

    def weighted(self, record: Any, weight: float) -> Any:
        """The record with another weight than 1."""
        ...

    @property
    def frame(self) -> Callable[[list[Any]], bytes]:
        """A frame of records, and of `msgspec.Raw` that hold events already encoded. May raise: then each goes by itself."""
        ...

    @property
    def join(self) -> Callable[[list[bytes]], bytes]:
        """One frame of several."""
        ...

    def split(self, frame: bytes) -> list[bytes]:
        """A frame for each event of such a frame, for one that became too long."""
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
    `seq` is given and before anything is encoded. It must change neither the event nor what that holds in place: values in
    `fields` are the application's own, and the branches of a `tee` share one event's `fields`. Use `msgspec.structs.replace`,
    with a dict of its own. Where it raises, or returns anything else, the event is dropped and counted as filtered, and the
    error told (`filter_error`). `BaseFilter` has the optional hooks; a class that does not inherit it may have any of them.

    `metlog.testing.FilterConformance` is the suite that the built-in filters pass, for yours in three lines.
    """

    def __call__(self, event: Event, /) -> Event | None:
        """The event to go on with, or None to drop it."""
        ...


class BaseFilter:
    """A filter with every hook at its default. Subclasses write `__call__`."""

    severity_max: int = 7
    """Events of a greater severity number would be dropped: the client does not build them."""
    by_severity_only: bool = False
    """True, beside `severity_max`: no other event is dropped and none is changed, so that the filter is never called. Not inherited
    by a class that writes its own `__call__`."""
    early: Callable[[tuple[str, ...], int, Any, dict[str, Any]], float | None] | None = None
    """Optional, for speed: what `__call__` does, before an event is built of (tokens, severity, payload, fields); its type is the
    first token. Returns how many events it stands for now: 1, more, or 0 to drop it. It may change the dict of fields, which is the
    event's own, but not the values in it, which are the application's. None: it cannot say, has changed nothing, and `__call__` is
    asked. It must not log. Not inherited by a class that writes its own `__call__`."""
    early_needs_fields: bool = True
    """False: `early` always decides, by tokens, severity and payload alone. Its `fields` are empty then, where all filters of a
    client are like this: what is dropped costs less. Inherited and lost with `early`."""
    logger: str = ""
    """Set by the pipeline: the `logger` of events that are not yet built."""
    emit: Callable[[Event], None] | None = None
    """Set by the pipeline: adds an event of the filter's own, which passes the filters behind this one (`rate_limit` reports
    what it suppressed)."""
    chance: Chance = chance
    """Set by the pipeline: for a filter that samples. `metlog.testing.capture` puts one in place that keeps every event."""
    ticking: bool = False
    """Whether `tick` is to be called: true for a class that has one."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.ticking = cls.tick is not BaseFilter.tick
        if "__call__" in vars(cls):
            if "early" not in vars(cls):
                cls.early = None
            if "by_severity_only" not in vars(cls):
                cls.by_severity_only = False
        if "early" in vars(cls) and "early_needs_fields" not in vars(cls):
            cls.early_needs_fields = True

    def __call__(self, event: Event, /) -> Event | None:
        """The event to go on with, or None to drop it."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Says what time it is (monotonic seconds), twice in each flush interval."""

    def close(self) -> None:
        """Says that no event follows; events that the filter adds now are still sent."""

    def after_fork(self) -> None:
        """Renews locks, and forgets what is the parent process's."""
