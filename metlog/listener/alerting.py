"""The alerts of a listener: asked in a process of their own, told beside the inputs; loaded only where there are some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from metlog.event import Event

if TYPE_CHECKING:
    from pathlib import Path

    from metlog.alerts.config import AlertSettings
    from metlog.alerts.runner import Alerts
    from metlog.lake.interface import Engine

__all__ = ["AlertKeeper"]


class AlertKeeper:
    """Runs alerts while the listener does. `prepare`, `start` and `stop` are called by one thread, all else from any.

    data: the data folder. journal: the name of the listener's journal, which names the file of the states. submit: journals events.
    """

    def __init__(
        self, settings: AlertSettings | None, data: Path, journal: str, submit: Callable[[Sequence[Event]], None]
    ) -> None:
        self._alerts: Alerts | None = None
        if settings is None or not settings.alerts:
            return
        from metlog.alerts.runner import Alerts
        from metlog.engines import open_engine

        told = settings.alerting

        def engine() -> Engine:
            return open_engine(
                told.engine or "duckdb", where="alerting.engine", data=data, memory=told.memory, timeout=told.timeout, queries=1,
                isolated=True,
            )  # fmt: skip

        self._alerts = Alerts(settings, f"listener-{journal}", data=data, engine=engine, submit=submit)

    def prepare(self) -> None:
        """Does what may fail of `start`, beside others that still run. Raises OSError when the states cannot be kept, ConfigError."""
        if self._alerts is not None:
            self._alerts.prepare()

    def start(self) -> None:
        """Begins. Without `prepare` it raises what that does."""
        if self._alerts is not None:
            self._alerts.start()

    def stop(self) -> None:
        """Ends; called again, or without `start`, does nothing."""
        if self._alerts is not None:
            self._alerts.stop()
            self._alerts = None

    def status(self) -> list[dict[str, Any]]:
        """Each alert with its state."""
        return [] if self._alerts is None else [state.told() for state in self._alerts.states()]

    def health(self) -> list[str]:
        """What does not work."""
        return [] if self._alerts is None else self._alerts.health()
