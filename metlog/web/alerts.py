"""Alerts on the page: in which state each is, since when, and what it last found."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from metlog.alerts.runner import Alerts, state_folder
from metlog.alerts.states import FOLDER, Kept, State, Store, kept_in
from metlog.errors import ConfigError
from metlog.lake.interface import Engine
from metlog.web.errors import Refused
from metlog.web.settings import WebSettings
from metlog.web.state import Page, access_of, page_of

__all__ = ["Shown", "listed", "runner", "show"]

_LATE: Final = 3
"""Evaluations that may be missed until an alert counts as no longer evaluated."""
_SLACK: Final = 60.0
_RUNNER: Final = "page"
_ORDER: Final = ("firing", "no_data", "error", "pending", "new", "ok")


@dataclass
class Shown:
    """One alert as the page shows it."""

    name: str
    runner: str
    state: str
    since: datetime | None
    alarm: bool
    alarm_since: datetime | None
    value: float | None
    about: str
    evaluated_at: datetime | None
    error: str
    untold: str
    """Why a notice could not be told yet."""
    late: bool
    """Whether it is no longer evaluated."""

    @property
    def condition_text(self) -> str:
        """What was found, and the condition."""
        return f"{self.value:,.6g} ({self.about})" if self.value is not None else self.about


def runner(settings: WebSettings, lake: Engine) -> Alerts | None:
    """The page's own alerts; None when it has none. Raises ConfigError where there is no folder for their states that can be written."""
    if not settings.alerts.alerts:
        return None
    folder = state_folder(settings.alerts, settings.data)
    try:
        Store(folder, _RUNNER).close()
    except OSError as error:
        raise ConfigError(
            f"alerting.state: {folder} cannot be written: {error.strerror or error}; name a folder that the page may write"
        ) from error
    return Alerts(settings.alerts, _RUNNER, data=settings.data, engine=lambda: lake, shared=True)


async def listed(request: Request) -> list[Shown]:
    """The alerts of the data folder, and those of the page; none for who does not see every service: a condition is of all of them."""
    if not access_of(request).everything:
        return []
    return await asyncio.to_thread(_listed, page_of(request), time.time())


def _listed(page: Page, now: float) -> list[Shown]:
    folders = [] if page.settings.data is None else [page.settings.data / FOLDER]
    own = state_folder(page.settings.alerts, page.settings.data) if page.alerts is not None else None
    if own is not None and own not in folders:
        folders.append(own)
    found = [_shown(kept, state, now) for folder in folders for kept in kept_in(folder) for state in kept.alerts]
    return sorted(found, key=lambda item: (not item.alarm, _ORDER.index(item.state), item.name))


def _shown(kept: Kept, state: State, now: float) -> Shown:
    def moment(value: float) -> datetime | None:
        return datetime.fromtimestamp(value, UTC) if value else None

    waiting = next((letter.error for letter in state.outbox if letter.error), "")
    return Shown(
        name=state.name, runner=kept.runner, state=state.state, since=moment(state.since), alarm=state.alarm,
        alarm_since=moment(state.alarm_since), value=state.value, about=state.about, evaluated_at=moment(state.evaluated_at),
        error=state.error, untold=waiting, late=now - state.evaluated_at > _LATE * state.every + _SLACK,
    )  # fmt: skip


async def show(request: Request) -> Response:
    """`/alerts`."""
    if not access_of(request).everything:
        raise Refused(403, "alerts are for those who see every service", kind="services")
    page = page_of(request)
    # First: an alert that is evaluated meanwhile is told in the table at least as late as here.
    health = [] if page.alerts is None else page.alerts.health()
    values = {"here": "alerts", "clock": "zone", "alerts": await listed(request), "health": health}
    return page.views.render(request, "alerts.html", values)
