"""Words for people, where the wire says another one: `(no name)` for the service of an event without a logger, `log line` for the type
`oldstyle`, names of severities. A condition takes both."""

from __future__ import annotations

from typing import Final

from metlog.event import severity_from
from metlog.reports.words import shown_type, type_of
from metlog.web.errors import Refused

__all__ = ["NO_NAME", "SEVERITIES", "service", "service_of", "severity_of", "shown_type", "type_of"]

SEVERITIES: Final = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""Names of the numbers 0 to 7."""
NO_NAME: Final = "(no name)"
"""The service of events whose `logger` is empty."""


def service(logger: str) -> str:
    """The shown name of a service."""
    return logger or NO_NAME


def service_of(text: str) -> str:
    """The `logger` that a shown name means."""
    return "" if text == NO_NAME else text


def severity_of(text: str, where: str = "severity") -> int:
    """The number of a severity's name. Raises Refused 400."""
    found = severity_from(text)
    if found is None or not 0 <= found <= 7:
        raise Refused(
            400, f"{where} = {text!r}: wants {', '.join(SEVERITIES)}, or a number from 0 (emergency) to 7 (debug)"
        )
    return found
