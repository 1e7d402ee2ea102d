"""Exceptions that Flask answers by itself, for the WSGI middleware. Imports no Flask that is not there."""

from __future__ import annotations

import sys
from typing import Any

from metlog.integrations.django import FAULT

__all__ = ["listen"]


def listen() -> None:
    """Leaves each exception that becomes a status 500 in its request's environ. Connected once, however often it is called."""
    flask: Any = sys.modules.get("flask")
    signal = getattr(flask, "got_request_exception", None)
    if signal is not None:
        signal.connect(_failed)


def _failed(sender: Any, exception: BaseException | None = None, **_: Any) -> None:
    from flask import has_request_context, request

    if exception is not None and has_request_context():
        request.environ[FAULT] = exception
