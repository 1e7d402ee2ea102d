"""Logins: one call for the event and the counters that the reports know."""

from __future__ import annotations

from typing import Any

from metlog.client import MetlogClient
from metlog.integrations._common import client_of

__all__ = ["login_failure", "login_success"]


def login_success(user: str, /, *, client: MetlogClient | str | None = None, **fields: Any) -> None:
    """Logs that a user logged in: type `login`, `fields` has `user` and `success`; statsd counts `login.success`."""
    chosen = client_of(client)
    chosen.log(("login", "success"), fields={**fields, "user": user, "success": True})
    chosen.statsd.incr("login.success")


def login_failure(
    user: str | None = None, /, *, reason: str = "", client: MetlogClient | str | None = None, **fields: Any
) -> None:
    """Logs that a login failed, with the reason in a word; severity 5 (notice); statsd counts `login.failure`."""
    chosen = client_of(client)
    known: dict[str, Any] = {**fields, "success": False}
    if user is not None:
        known["user"] = user
    if reason:
        known["reason"] = reason
    chosen.log(("login", "failure"), severity=5, fields=known)
    chosen.statsd.incr("login.failure")
