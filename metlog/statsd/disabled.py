"""`client.statsd` when `statsd` is false: every method there is, and nothing done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from statsd.client.timer import Timer

from metlog.statsd.line import StatsdStats

__all__ = ["DisabledStatsd"]


class DisabledStatsd:
    """The methods of `statsd.StatsClient` (and of its TCP and Unix clients), without a socket, a thread or a wait."""

    def incr(self, stat: str, count: float = 1, rate: float = 1) -> None:
        """Does nothing."""

    def decr(self, stat: str, count: float = 1, rate: float = 1) -> None:
        """Does nothing."""

    def gauge(self, stat: str, value: float, rate: float = 1, delta: bool = False) -> None:
        """Does nothing."""

    def set(self, stat: str, value: Any, rate: float = 1) -> None:
        """Does nothing."""

    def timing(self, stat: str, delta: float | timedelta, rate: float = 1) -> None:
        """Does nothing."""

    def pair(self, counter: str, timer: str, ms: float, rate: float) -> None:
        pass

    def timer(self, stat: str, rate: float = 1) -> Any:
        """The package's own timer (decorator, context manager, `start` and `stop`): it measures, and sends nothing."""
        return Timer(self, stat, rate)

    def pipeline(self) -> _DisabledPipeline:
        """A pipeline that gathers nothing."""
        return _DisabledPipeline()

    def connect(self) -> None:
        """Does nothing."""

    def reconnect(self) -> None:
        """Does nothing."""

    def stats(self) -> StatsdStats:
        """Counts that are all zero."""
        return StatsdStats()

    def flush(self, timeout: float | None = None) -> bool:
        """Nothing is held."""
        return True

    def close(self) -> None:
        """Does nothing."""


class _DisabledPipeline(DisabledStatsd):
    def __enter__(self) -> _DisabledPipeline:
        return self

    def __exit__(self, typ: Any, value: Any, tb: Any) -> None:
        """Sends nothing."""

    def send(self) -> None:
        """Sends nothing."""
