"""Other ways of an event than that of `MetlogClient.log`.

`log_direct` is shorter, for metlog's own callers: a timer, a record of stdlib logging. `log_screened` is longer, with filters.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Protocol

from metlog.core.context import Kept, current, is_fixed
from metlog.core.state import ClientState
from metlog.event import MAX_WEIGHT, ONE

__all__ = ["dealt_with", "log_direct", "log_screened"]

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
    """Logs an event as `client.log` does, in less time: the caller sees to it that the arguments are of the right types. `own`
    becomes the event's.

    `fixed`: all of `own` is (see `is_fixed`), so that it need not be looked at. False: nothing was done, since something is
    unusual, such as a filter that looks at fields or a value that may change: `client.log` is to be called.
    """
    seq, stored = 0, False
    try:
        pipeline = client._state.pipeline
        severity_max, make, origin, next_seq, append, buffer, base, _, _ = pipeline.fast_path
        if make is None or severity > severity_max or not client._plain:
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
    except BaseException as error:  # noqa: BLE001 - `dealt_with` raises what is no Exception
        return dealt_with(pipeline, error, seq, stored)
    return True


def log_screened(
    client: Client,
    pipeline: Any,
    tokens: tuple[str, ...],
    severity: int,
    payload: Any,
    fields: dict[str, Any] | None,
    weight: float,
) -> None:
    """Logs an event where filters have a say, or the encoder has no records. Raises what is raised before it has a `seq`.

    `fields` are the caller's own. `weight` is what `sift` said, where the pipeline has that.
    """
    seq, stored = 0, False
    try:
        make, origin, next_seq, append, buffer, screen, filters = pipeline.screened_path
        context, base = _context(), pipeline.fields
        if context is None and not base and not client._bound:
            own = fields.copy() if fields else {}
        else:
            own = {**client._fields_before(base, context)[2], **(fields or {})}
        if screen is not None:
            weight = screen(tokens, severity, payload, own)
            if not weight:
                return
        if make is not None and type(payload) is str and (weight is ONE or 0 < weight <= MAX_WEIGHT) and is_fixed(own):
            seq = next_seq()
            record = make(_now(UTC), tokens[0], tokens, severity, payload, own, seq, origin)
            append(record if weight is ONE else buffer.records.weighted(record, weight))
            if seq >= buffer.flush_at_seq:
                stored = True
                buffer.flush_if_due(seq)
        else:
            pipeline.put(tokens[0], tokens, severity, payload, own, weight, None, filters)
    except BaseException as error:
        if not dealt_with(pipeline, error, seq, stored):
            raise


def dealt_with(pipeline: Any, error: BaseException, seq: int, stored: bool) -> bool:
    """Counts what was raised by a call whose event has the number `seq`; False where it has none yet, and nothing is lost.

    Raises it again where it is no Exception: a signal handler raised it; no other error here reaches the application.
    """
    if seq and not stored:
        pipeline.abort_record(seq, error)
    if not isinstance(error, Exception):
        raise error
    if stored:
        pipeline.failed(error, 0, "call_error")
    return bool(seq)
