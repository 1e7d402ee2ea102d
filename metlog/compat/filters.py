"""The original's filter providers. Each returns a filter of the original's kind that names its counterpart here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metlog.errors import ConfigError

__all__ = [
    "severity_max_provider", "type_blacklist_provider", "type_severity_max_provider", "type_whitelist_provider",
]  # fmt: skip

MessagePredicate = Callable[[dict[str, Any]], bool]


def _known(predicate: MessagePredicate, original: str, **spec: Any) -> MessagePredicate:
    predicate.__name__ = predicate.__qualname__ = original
    predicate.metlog_filter = spec  # type: ignore[attr-defined]
    return predicate


def severity_max_provider(severity: int) -> MessagePredicate:
    """Drops messages of a greater severity; here the filter `severity_max`."""
    return _known(lambda msg: msg["severity"] <= severity, "severity_max", name="severity_max", severity=severity)


def type_blacklist_provider(types: str | Sequence[Any]) -> MessagePredicate:
    """Drops messages of these types; here the filter `type_deny`."""
    named = _names(types)
    return _known(lambda msg: msg["type"] not in named, "type_blacklist", name="type_deny", types=named)


def type_whitelist_provider(types: str | Sequence[Any]) -> MessagePredicate:
    """Keeps messages of these types only; here the filter `type_allow`."""
    named = _names(types)
    return _known(lambda msg: msg["type"] in named, "type_whitelist", name="type_allow", types=named)


def type_severity_max_provider(types: Mapping[str, Mapping[str, int]]) -> MessagePredicate:
    """Drops messages above the severity of their type, `{"type": {"severity": 4}}`; here `type_severity_max`."""
    limits = {}
    for kind, options in types.items() if isinstance(types, Mapping) else ():
        if not isinstance(options, Mapping) or set(options) != {"severity"}:
            raise ConfigError(f"types.{kind} = {options!r}: wants a table with severity, such as {{'severity': 4}}")
        limits[kind] = options["severity"]
    if not limits:
        raise ConfigError(
            f"types = {types!r}: wants a table of types, such as {{'request': {{'severity': 4}}}}; INI cannot say it, a dict can"
        )
    return _known(
        lambda msg: msg["severity"] <= limits.get(msg["type"], 7),
        "type_severity_max",
        name="type_severity_max",
        types=limits,
    )


def _names(types: str | Sequence[Any]) -> list[str]:
    return types.split() if isinstance(types, str) else [str(name) for name in types]
