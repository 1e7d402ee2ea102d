"""The original's configuration, INI and dict, carried out with this one's senders, filters and plugins."""

from __future__ import annotations

import copy
import io
import json
import logging
from collections.abc import Callable, Mapping
from textwrap import dedent
from typing import Any, Final, TextIO

from metlog.compat import filters as original_filters
from metlog.compat import senders as original_senders
from metlog.compat.client import CompatClient
from metlog.compat.clients import CLIENT_HOLDER
from metlog.compat.ini import dict_from_stream_config, nest_prefixes
from metlog.compat.plans import Promise, filter_component, planned_lazily, sender_component
from metlog.compat.senders import Mapped, resolve
from metlog.errors import ConfigError, Problems
from metlog.plugins import Component, suggest
from metlog.plugins.conversion import convert, nearest, shown

__all__ = [
    "client_from_dict_config", "client_from_stream_config", "client_from_text_config", "dict_from_stream_config",
    "nest_prefixes",
]  # fmt: skip

_KEYS: Final[Mapping[str, Any]] = {
    "logger": str,
    "severity": int,
    "disabled_timers": list[str],
    "sender": dict[str, Any],
    "global": dict[str, Any],
    "filters": list[Any],
    "plugins": dict[str, Any],
}
_log: Final = logging.getLogger("metlog")


def client_from_text_config(
    text: str, section: str, client: CompatClient | None = None, clear_global: bool = False
) -> CompatClient:
    """Configures a client (a new one unless given) from INI text; `clear_global` forgets the global settings."""
    return client_from_stream_config(io.StringIO(dedent(text)), section, client, clear_global)


def client_from_stream_config(
    stream: TextIO, section: str, client: CompatClient | None = None, clear_global: bool = False
) -> CompatClient:
    """As `client_from_text_config`, from an open file."""
    return client_from_dict_config(dict_from_stream_config(stream, section), client, clear_global)


def client_from_dict_config(
    config: Mapping[str, Any], client: CompatClient | None = None, clear_global: bool = False
) -> CompatClient:
    """Configures a client (a new one unless given) from the original's dict.

    Raises ConfigError with every fault, and then changes nothing; SyntaxError for a plugin whose name is in use.
    """
    settings = nest_prefixes(copy.deepcopy(dict(config)))
    problems = Problems()
    values = _values(settings, problems)
    made = client if client is not None else CompatClient()
    methods = []
    for name, spec in (values.get("plugins") or {}).items():
        with problems.catch(f"plugins.{name}"):
            methods.append(_method(spec, f"plugins.{name}"))
    taken: SyntaxError | None = None
    for method, override in methods:
        try:
            made.check_method(method, override, configured=True)
        except SyntaxError as error:
            taken = error
            problems.add(f"plugins: {error}; override = true replaces what has it")
    found = planned_lazily(
        problems,
        sender=lambda: sender_component(_sender(dict(values.get("sender") or {})), "sender_class"),
        logger=values.get("logger", ""),
        severity=values.get("severity", 6),
        disabled_timers=values.get("disabled_timers", ()),
        filters=[_filter_of(spec, f"filters[{n}]") for n, spec in enumerate(values.get("filters") or ())],
    )
    if taken is not None and len(problems.lines) == 1:
        raise taken
    problems.check()
    made.adopt(found, values.get("severity", 6), json.dumps(settings, default=repr))
    for method, override in methods:
        made.add_configured(method, override)
    if clear_global:
        CLIENT_HOLDER.global_config.clear()
    CLIENT_HOLDER.global_config.update(values.get("global") or {})
    return made


def _values(settings: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """The settings converted; an unknown key is left alone, as the original did, with a warning when it looks misspelt."""
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in _KEYS:
            if nearest(key, _KEYS, cutoff=0.75):
                _log.warning("%s = %s: no such setting, left alone; %s", key, shown(key, value), suggest(key, _KEYS))
            continue
        if value is None:
            continue
        if isinstance(value, tuple | set | frozenset):
            value = list(value)  # noqa: PLW2901
        if key == "disabled_timers":  # INI has made numbers of numbers
            value = [str(name) for name in (value if isinstance(value, list) else [value])]  # noqa: PLW2901
        elif key == "logger":
            value = str(value)  # noqa: PLW2901
        try:
            values[key] = convert(value, _KEYS[key])
        except ValueError as error:
            problems.add(f"{key} = {shown(key, value)}: {error}")
    return values


# ---- senders ---------------------------------------------------------------------------------------------------------


def _sender(config: dict[str, Any]) -> Any:
    """The sender that a configuration names: one of the original's at once, one of the user's as a promise to make it."""
    dotted = config.pop("class", None)
    args = tuple(config.pop("args", ()))
    if not dotted:
        raise ConfigError("sender_class: missing; wants a dotted name, such as metlog.senders.UdpSender")
    name = str(dotted).rpartition(".")[2]
    if str(dotted).startswith(("metlog.senders", "metlog.compat.senders")) and name in original_senders.__all__:
        factory = getattr(original_senders, name)
    else:
        factory = resolve(dotted, "sender_class")
        if not (isinstance(factory, type) and issubclass(factory, Mapped)):  # of those the constructor opens nothing
            return Promise(str(dotted), factory, args, config)
    try:
        return factory(*args, **config)
    except TypeError as error:
        raise ConfigError(f"sender_class = {dotted!r}: {_readable(error, name)}") from error
    except ConfigError as error:
        raise ConfigError(
            line if line.startswith("sender_") else f"sender_class = {dotted!r}: {line}" for line in error.problems
        ) from error


def _readable(error: TypeError, name: str) -> str:
    return str(error).replace(f"{name}.__init__()", f"{name}(…)").replace("an unexpected keyword argument", "no option")


# ---- filters and plugins ---------------------------------------------------------------------------------------------


def _filter_of(spec: Any, where: str) -> Callable[[], Component]:
    def make() -> Component:
        provider, options = _pair(spec, where)
        name = provider.rpartition(".")[2]
        known = provider.startswith(("metlog.filters", "metlog.compat.filters"))
        for there in (name, f"{name}_provider"):  # its documentation has the short names too
            if known and there in original_filters.__all__:
                return filter_component(_called(getattr(original_filters, there), (), options, where, provider), where)
        return filter_component(_called(resolve(provider, where), (), options, where, provider), where)

    return make


def _method(spec: Any, where: str) -> tuple[Callable[..., Any], bool | str]:
    provider, options = _pair(spec, where)
    override = options.pop("override", False)
    method = _called(resolve(provider, where), (options,), {}, where, provider)
    if not callable(method):
        raise ConfigError(f"{where} = {provider!r}: gave {method!r}; wants a function that is to be the method")
    return method, override


def _called(provider: Any, args: tuple[Any, ...], options: dict[str, Any], where: str, dotted: str) -> Any:
    try:
        return provider(*args, **options)
    except ConfigError as error:
        raise ConfigError(f"{where}.{line}" for line in error.problems) from error
    except Exception as error:
        raise ConfigError(f"{where} = {dotted!r}: {type(error).__name__}: {error}") from error


def _pair(spec: Any, where: str) -> tuple[str, dict[str, Any]]:
    try:
        provider, options = spec
        return str(provider), dict(options or {})
    except (TypeError, ValueError):
        raise ConfigError(
            f"{where} = {spec!r}: wants a pair (dotted name of the provider, dict of its options)"
        ) from None
