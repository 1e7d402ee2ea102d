"""The filters of a pipeline, one behind the other: on an event, or on a call before an event is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from metlog.core.adapt import name_of, original
from metlog.core.chance import Chance
from metlog.core.interfaces import BaseFilter, Filter
from metlog.core.stats import AtomicCounter, Counts, inside
from metlog.event import ONE, Event

__all__ = ["FilterChain"]

_NO_FIELDS: Final[dict[str, Any]] = {}


class FilterChain:
    """Calls filters, and counts what they drop; what one of them raises drops the event.

    `add` is called with an event of a filter's own, and the filters behind that one; `go_on` is `Pipeline.put`.
    """

    def __init__(
        self,
        filters: Sequence[BaseFilter],
        *,
        chance: Chance,
        logger: str,
        counts: Counts,
        add: Callable[[Sequence[Filter], Event], None],
        go_on: Callable[..., None],
    ) -> None:
        self._counts = counts
        self._go_on = go_on
        self.filtered = AtomicCounter()
        """Events that were dropped."""
        self.filters = tuple(filters)
        self.severity_max = min((item.severity_max for item in filters), default=7)
        """Events of a greater severity number would be dropped."""
        called = [item for item in filters if not item.by_severity_only]
        self.calls: tuple[Filter, ...] = tuple(map(original, called))
        """The filters that are to be called."""
        self._early = tuple([item.early for item in called])
        self._first = self._early[0] if called else None
        self.screens = bool(called) and called[0].early is not None
        """Whether `screen` is of use: the first filter needs no event."""
        self.screens_all = None not in self._early
        """Whether no filter needs an event."""
        self.sifts = self.screens and self.screens_all and not any([item.early_needs_fields for item in called])
        """Whether `sift` is of use: no filter needs more than tokens, severity and payload."""
        for place, item in enumerate(called):
            item.emit = partial(add, self.calls[place + 1 :])
            item.chance, item.logger = chance, logger
        self.ticks = [item.tick for item in filters if item.ticking]

    def tick(self) -> None:
        """Passes the time (monotonic seconds) to filters that have a `tick`."""
        for tick in self.ticks:
            tick(monotonic())

    def apply(self, event: Event, calls: Sequence[Filter], *, added: bool = False) -> Event | None:
        """The event as these filters leave it; None: dropped, and counted. `added`: it is a filter's own."""
        if not calls:
            return event
        within = inside.active
        if within and not added:
            self._refuse()
            return None
        inside.active = True
        try:
            for keep in calls:
                kept = keep(event)
                if kept.__class__ is not Event:
                    if kept is None:
                        next(self.filtered)
                        return None
                    _require_event(keep, kept)
                if kept is not event and not kept.stream:
                    _adopt(kept, event)
                event = kept
        except Exception as error:  # noqa: BLE001 - a filter may raise anything; what it guards must not leave
            next(self.filtered)
            self._counts.error("filter_error", error)
            return None
        finally:
            inside.active = within
        return event

    def screen(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
        """Calls the filters on what is to be an event; they may change the fields. Returns the weight that it is to have.

        0: there is no more to be done; it was dropped, and counted, or given to `go_on` since a filter needs an event.
        """
        if inside.active:
            self._refuse()
            return 0.0
        weight, place = ONE, 0
        try:
            for early in self._early:
                factor = None if early is None else early(tokens, severity, payload, fields)
                if factor is not ONE:
                    if factor is None:
                        break
                    if factor == 0:
                        next(self.filtered)
                        return 0.0
                    if factor != 1:
                        weight *= factor
                place += 1
            else:
                return weight
        except Exception as error:  # noqa: BLE001 - as above
            return self._raised(error)
        self._go_on(tokens[0], tokens, severity, payload, fields, weight, None, self.calls[place:])
        return 0.0

    def screen_one(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
        """As `screen`, where there is one filter: most events pass it as they are."""
        if inside.active:
            self._refuse()
            return 0.0
        try:
            factor = self._first(tokens, severity, payload, fields)  # type: ignore[misc] # `screens`: it has one
            if factor is ONE:
                return ONE
            weight = None if factor is None else ONE * factor
        except Exception as error:  # noqa: BLE001 - as above
            return self._raised(error)
        if weight is None:
            self._go_on(tokens[0], tokens, severity, payload, fields, ONE, None, self.calls)
            return 0.0
        if not weight:
            next(self.filtered)
        return weight

    def sift(self, tokens: tuple[str, ...], severity: int, payload: Any) -> float:
        """As `screen`, before there are any fields. 0: it was dropped, and counted."""
        weight = ONE
        try:
            for early in self._early:
                factor = early(tokens, severity, payload, _NO_FIELDS)  # type: ignore[misc] # `sifts`: each has one
                if factor is not ONE:
                    if not factor:
                        next(self.filtered)
                        return 0.0
                    weight *= factor
        except Exception as error:  # noqa: BLE001 - as above
            return self._raised(error)
        return weight

    def _raised(self, error: Exception) -> float:
        next(self.filtered)
        self._counts.error("filter_error", error)
        return 0.0

    def _refuse(self) -> None:
        self._counts.warn_once("recursion", "a filter or drop hook logs an event itself: that event is left out")
        next(self.filtered)

    def close(self) -> None:
        """Says that no event follows; what filters add now is still sent."""
        for item in self.filters:
            try:
                item.close()
            except Exception as error:  # noqa: BLE001 - as above
                self._counts.error("filter_error", error)

    def after_fork(self) -> None:
        """In a forked child: filters renew their locks, counts are zero."""
        for item in self.filters:
            item.after_fork()
        self.filtered = AtomicCounter()


def _adopt(made: Event, event: Event) -> None:
    """Gives an event that a filter made anew, not by `replace`, its place in the stream, where the `seq` that it gets would be missed."""
    made.stream, made.pid, made.hostname = event.stream, event.pid, event.hostname
    made.logger = made.logger or event.logger


def _require_event(keep: Filter, kept: object) -> None:
    """Raises TypeError where what a filter returned is neither an event nor None, such as whether to keep it."""
    if not isinstance(kept, Event):
        returned = repr(kept) if isinstance(kept, bool) else f"a value of type {type(kept).__name__}"
        raise TypeError(
            f"the filter {name_of(keep)} returned {returned}; it has to return the event to go on with, or None to drop it"
        )
