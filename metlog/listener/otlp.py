"""What the input and the output `otlp` share: severities, and the parts of an event that OTLP has no place for."""

from __future__ import annotations

from typing import Any, Final

from metlog.event import ENV_VERSION, MAX_WEIGHT, Event

__all__ = ["OWN", "own_attributes", "severity_number", "severity_of", "take_own"]

_SEVERITIES: Final = (6, *[7] * 8, 6, 5, 5, 5, 4, 4, 4, 4, 3, 2, 1, 1, 0, 0, 0, 0)
"""Severity of RFC 5424 by SeverityNumber (OpenTelemetry's logs data model, appendix B)."""
_NUMBERS: Final = (21, 19, 18, 17, 13, 10, 9, 5)
"""SeverityNumber by severity: the least of those that mean it."""
OWN: Final = ("metlog.tokens", "metlog.stream", "metlog.seq", "metlog.weight", "metlog.env_version")
"""Attributes of a log record that hold what else an event has."""


def severity_of(number: int) -> int:
    """Returns the severity of RFC 5424 for a SeverityNumber; 6 for 0 (unspecified) and for numbers that do not exist."""
    return _SEVERITIES[number] if 0 <= number < len(_SEVERITIES) else 6


def severity_number(severity: int) -> int:
    """Returns the SeverityNumber for a severity of RFC 5424, 0 to 7."""
    return _NUMBERS[severity]


def own_attributes(event: Event) -> dict[str, Any]:
    """Returns the attributes for what differs from an event that has a type and nothing more."""
    found: dict[str, Any] = {}
    if event.tokens != (event.type,):
        found["metlog.tokens"] = list(event.tokens)
    if event.stream:
        found["metlog.stream"] = event.stream
    if event.seq:
        found["metlog.seq"] = event.seq
    if event.weight != 1:
        found["metlog.weight"] = event.weight
    if event.env_version != ENV_VERSION:
        found["metlog.env_version"] = event.env_version
    return found


def take_own(attributes: dict[str, Any]) -> dict[str, Any]:
    """Removes those attributes and returns the members of the event that they are; what is none of them stays an attribute."""
    found: dict[str, Any] = {}
    for name in OWN:
        if name in attributes and _is_own(name, attributes[name]):
            value = attributes.pop(name)
            found[name.removeprefix("metlog.")] = tuple(value) if isinstance(value, list) else value
    return found


def _is_own(name: str, value: Any) -> bool:
    match name:
        case "metlog.tokens":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "metlog.seq":
            return type(value) is int and 0 <= value < 2**63
        case "metlog.weight":
            return type(value) in {int, float} and 0 < value <= MAX_WEIGHT
    return isinstance(value, str)
