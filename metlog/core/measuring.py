"""What a client measures: counters and timers, each an event or added up to one."""

from __future__ import annotations

from math import isnan
from typing import Any, Final

import msgspec

from metlog.core.coerce import rate_of
from metlog.core.context import Kept, Layer, current, is_fixed, merged
from metlog.core.direct import log_direct
from metlog.core.state import ClientState
from metlog.core.sums import Sums
from metlog.core.timer import DisabledTimer, Timer
from metlog.event import ONE

__all__ = ["Measuring"]

_context: Final = current.get
_number: Final = msgspec.json.Encoder().encode


class Measuring:
    """The part of a client that counts and times."""

    _state: ClientState
    _bound: dict[str, Any]
    """Fields of `bind`: never changed in place."""
    _kept: Kept | None
    _plain: bool
    """Whether `log` is the client's own, neither overridden nor added."""

    def log(self, tokens: Any, msg: Any = "", *, severity: Any = 6, fields: Any = None, **more: Any) -> None:
        """Logs an event."""
        raise NotImplementedError

    def bind(self, /, **fields: Any) -> Measuring:
        """Returns a client with more fields."""
        raise NotImplementedError

    def metlog(
        self, type: str, logger: Any, severity: Any, payload: Any, fields: Any, *, tokens: Any, weight: float
    ) -> None:
        """Logs an event under an explicit type."""
        raise NotImplementedError

    def _fields_before(self, base: dict[str, Any], context: dict[str, Any] | None) -> Kept:
        """The fields of the configuration, the context and `bind` together: kept until one of these is another."""
        kept = self._kept if context is None else context.kept if type(context) is Layer else None
        if kept is None or kept[0] is not base or kept[1] is not self._bound:
            together = merged(base, context, self._bound, None)
            kept = (base, self._bound, together, is_fixed(together))
            if context is None:
                self._kept = kept
            elif type(context) is Layer:
                context.kept = kept
        return kept

    def incr(self, name: str, count: int = 1, rate: float = ONE, **more: Any) -> None:
        """Counts, in an event of type `counter`. Other keywords: fields.

        Equal ones (name and fields, those around the call included) of a flush interval are one event with their sum as `count`,
        unless the setting `counters` is "each". Below rate 1 some are left out, and the others count for them.
        """
        pipeline = self._state.pipeline
        plain = pipeline.count  # the usual case, in few steps
        if rate is ONE and plain is not None and not (more or self._bound or _context()) and plain(name, count):
            return
        weight = ONE if type(rate) is float and rate == 1.0 else self._weight(rate)  # 0: left out
        sums = pipeline.counters
        if weight and (sums is None or not self._added_up(sums, name, count, weight, more)):
            payload: Any = str(count) if type(count) is int and count.bit_length() <= 64 else count
            self._measured("counter", name, payload, {**more, "name": name, "count": count}, weight)

    def timer_send(self, name: str, ms: float, rate: float = 1.0, **more: Any) -> None:
        """Says that something took `ms` milliseconds, in an event of type `timer`; `rate` and keywords as for `incr`.

        With the setting `timers` as "summary", equal ones of a flush interval are one event.
        """
        state = self._state
        if state.disabled_timers and self.timer_disabled(name):
            return
        weight = ONE if type(rate) is float and rate == 1.0 else self._weight(rate)
        sums = state.pipeline.timers
        if weight and (sums is None or not self._added_up(sums, name, ms, weight, more)):
            if type(ms) is float and 0.0 <= ms < 1e16:
                payload: Any = _number(ms).decode()  # in a quarter of the time of `str`
                if (
                    weight is ONE
                    and not more
                    and type(name) is str
                    and log_direct(self, ("timer", name), 6, payload, {"name": name, "ms": ms}, True)
                ):
                    return
            else:
                payload = str(ms) if type(ms) is float else ms
            self._measured("timer", name, payload, {**more, "name": name, "ms": ms}, weight)

    def _weight(self, rate: Any) -> float:
        """How many measurements one stands for: 0 when chance leaves it out, NaN when the rate is no number (the encoder tells it)."""
        if type(rate) is not float:
            rate = rate_of(rate)
        if rate >= 1.0:
            return ONE
        return 1.0 / rate if isnan(rate) or self._state.pipeline.chance.keeps(rate) else 0.0

    def _added_up(self, sums: Sums[Any], name: Any, value: Any, weight: float, fields: dict[str, Any]) -> bool:
        """Adds a measurement to `sums`. Returns False when it has to be an event of its own."""
        pipeline, context = self._state.pipeline, _context()
        base = pipeline.fields
        if context is not None or base or self._bound:
            fields = {**self._fields_before(base, context)[2], **fields}
        return pipeline.add_up(sums, name, value, weight, fields)

    def _measured(self, kind: str, name: str, payload: Any, fields: dict[str, Any], weight: float) -> None:
        if weight is ONE:
            self.log((kind, name), payload, fields=fields)
        else:
            self.metlog(kind, None, 6, payload, fields, tokens=(kind, name), weight=weight)

    def timer(self, name: str, rate: float = 1.0, **more: Any) -> Timer:
        """A timer: decorator (plain and async functions) and context manager; `result` is in milliseconds. Other keywords: fields."""
        if more:
            return self.bind(**more).timer(name, rate)
        disabled = self._state.disabled_timers
        # `timer_disabled`, without the call
        if disabled and ("*" in disabled or (type(name) is str and name in disabled)):
            return DisabledTimer(self, name, rate)
        return Timer(self, name, rate)

    def timer_disabled(self, name: str) -> bool:
        """Whether `disabled_timers` names it, or `*`."""
        disabled = self._state.disabled_timers
        return bool(disabled) and ("*" in disabled or (type(name) is str and name in disabled))
