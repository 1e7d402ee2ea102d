"""The short way of an event that metlog's own callers make: a timer, a record of stdlib logging."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Protocol

from metlog.core.context import Kept, current, is_fixed
from metlog.core.state import ClientState

__all__ = ["log_direct"]

_now: Final = datetime.now
_context: Final = current.get


class Client(Protocol):
    """A `MetlogClient`, as far as it is needed here."""

    _state: ClientState
    _bound: dict[str, Any]
    _plain: bool
    """Whether `log` is that of the class `MetlogClient`."""

    def _fields_before(self, base: dict[str, Any], context: dict[str, Any] | None) -> Kept:
        """The fields of the configuration, the context and `bind` together."""


def log_direct(
    client: Client,
    tokens: tuple[str, ...],
    severity: int,
    payload: str,
    own: dict[str, Any],
    fixed: bool = False,  # by position: a call with keywords costs half as much again
) -> bool:
    """Logs an event as `client.log` does, for less. The arguments are of the right types; `own` becomes the event's.

    `fixed`: all of `own` is (see `is_fixed`), so that it need not be looked at. False: nothing was done, since something is
    unusual, such as a filter that looks at fields or a value that may change: `client.log` is to be called.
    """
    seq, stored = 0, False
    try:
        pipeline = client._state.pipeline
        severity_max, make, origin, next_seq, append, buffer, base, _, screen, sift = pipeline.fast_path
        if make is None or screen is not None or sift is not None or severity > severity_max or not client._plain:
            return False
        context = _context()
        if context is not None or base or client._bound:
            _, _, before, around = client._fields_before(base, context)
            own, fixed = {**before, **own}, fixed and around
        if not (fixed or is_fixed(own)):
            return False
        seq = next_seq()
        append(make(_now(UTC), tokens[0], tokens, severity, payload, own, seq, origin))
        if seq >= buffer.flush_at_seq:
            stored = True  # the buffer owns it: an error from here on loses nothing
            buffer.flush_if_due(seq)
    except BaseException as error:
        if seq and not stored:
            pipeline.abort_record(seq, error)  # type: ignore[union-attr] # only a Pipeline gives a `seq`
        if not isinstance(error, Exception):
            raise  # a signal handler raised it; no other error here reaches the application
        if stored:
            pipeline.failed(error, 0, "call_error")
        return bool(seq)
    return True
