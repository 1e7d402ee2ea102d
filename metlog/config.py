"""Settings in, a checked plan out, pipelines from that: dict, URL, TOML, INI, environment.

Everything is checked before anything is opened, and every fault is told at once: key, value, remedy.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from metlog.errors import ConfigError, Problems
from metlog.pipeline import Fan, OnDrop, Pipeline
from metlog.plugins import Component, check, components, convert, suggest

__all__ = ["Plan", "expand", "from_prefixed", "gather", "plan"]

DEFAULT_SENDER: Final = "udp://127.0.0.1:5565"

_KEYS: Final[Mapping[str, Any]] = {
    "logger": str,
    "hostname": str,
    "sender": Any,
    "encoder": Any,
    "filters": Any,
    "buffer": dict[str, Any],
    "statsd": Any,
    "plugins": Any,
    "fields": dict[str, Any],
    "disabled_timers": list[str],
    "exit_timeout": float,
    "on_drop": Any,
    "tests": Any,
}
_BUFFER: Final[Mapping[str, tuple[Any, float, float, str]]] = {
    "max_frame": (int, 64, 1 << 26, "bytes"),
    "flush_interval": (float, 0.0, 3600.0, "seconds"),
    "max_bytes": (int, 1024, 1 << 34, "bytes"),
}
_VARIABLE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*:.*", re.DOTALL)


class Plan(Struct):
    """Settings that were checked. `pipeline()` opens what they name."""

    logger: str = ""
    hostname: str = ""
    sender: Component | None = None
    encoder: Component | None = None
    filters: list[Component] = field(default_factory=list)
    plugins: list[Component] = field(default_factory=list)
    buffer: dict[str, Any] = field(default_factory=dict)
    statsd: Any = False
    fields: dict[str, Any] = field(default_factory=dict)
    disabled_timers: frozenset[str] = frozenset()
    exit_timeout: float = 2.0
    on_drop: OnDrop | None = None
    tests: list[Any] = field(default_factory=list)

    def pipeline(self) -> Pipeline:
        """Builds it; raises ConfigError with every fault that the components' constructors find."""
        assert self.sender is not None
        assert self.encoder is not None
        problems = Problems()
        built: dict[str, Any] = {}
        with problems.catch("encoder"):
            built["encoder"] = self.encoder.build()
        filters = []
        for item in self.filters:
            with problems.catch(item.where):
                filters.append(item.build())
        with problems.catch("sender"):
            built["sender"] = self.sender.build()
        try:
            problems.check()
        except ConfigError:
            if "sender" in built:
                built["sender"].close()
            raise
        common = {
            "logger": self.logger,
            "hostname": self.hostname or socket.gethostname(),
            "filters": filters,
            "fields": self.fields,
            "exit_timeout": self.exit_timeout,
            "on_drop": self.on_drop,
            **built,
            **self.buffer,
        }
        branches: list[Plan] | None = getattr(built["sender"], "branches", None)
        if branches is None:
            return Pipeline(**common)
        return Fan(branches=[branch.pipeline() for branch in branches], **common)


def plan(settings: Mapping[str, Any], where: str = "") -> Plan:
    """Checks settings as a whole; raises ConfigError with all faults."""
    problems = Problems()
    prefix = f"{where}." if where else ""
    settings = expand(settings, where, problems)
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in _KEYS:
            problems.add(f"{prefix}{key} = {value!r}: no such setting; {suggest(str(key), _KEYS)}")
            continue
        try:
            values[key] = convert(value, _KEYS[key])
        except (msgspec.ValidationError, ValueError) as error:
            problems.add(f"{prefix}{key} = {value!r}: {error}")
    made = Plan(
        logger=values.get("logger", ""),
        hostname=values.get("hostname", ""),
        fields=values.get("fields", {}),
        disabled_timers=frozenset(values.get("disabled_timers", ())),
        tests=values.get("tests", []),
    )
    with problems.catch(f"{prefix}sender"):
        made.sender = check("sender", values.get("sender", DEFAULT_SENDER), f"{prefix}sender")
    with problems.catch(f"{prefix}encoder"):
        made.encoder = check("encoder", values.get("encoder", "json"), f"{prefix}encoder")
    made.filters = components("filter", values.get("filters"), f"{prefix}filters", problems)
    made.plugins = components("plugin", values.get("plugins"), f"{prefix}plugins", problems)
    made.buffer = _buffer(values.get("buffer", {}), f"{prefix}buffer", problems)
    made.exit_timeout = values.get("exit_timeout", 2.0)
    if not 0 <= made.exit_timeout <= 3600:
        problems.add(f"{prefix}exit_timeout = {made.exit_timeout}: wants 0 to 3600 seconds")
    made.on_drop = values.get("on_drop")
    if made.on_drop is not None and not callable(made.on_drop):
        problems.add(f"{prefix}on_drop = {made.on_drop!r}: wants a callable (reason: str, count: int)")
    made.statsd = values.get("statsd", False)
    if made.statsd:
        with problems.catch(f"{prefix}statsd"):
            from metlog.integrations.statsd import check_settings

            made.statsd = check_settings(made.statsd, f"{prefix}statsd")
    problems.check()
    return made


def _buffer(settings: Mapping[str, Any], where: str, problems: Problems) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in _BUFFER:
            problems.add(f"{where}.{key} = {value!r}: no such setting; {suggest(str(key), _BUFFER)}")
            continue
        kind, low, high, unit = _BUFFER[key]
        try:
            number = convert(value, kind)
        except (msgspec.ValidationError, ValueError) as error:
            problems.add(f"{where}.{key} = {value!r}: {error}")
            continue
        if low <= number <= high:
            made[key] = number
        else:
            problems.add(f"{where}.{key} = {value!r}: wants {low:g} to {high:g} {unit}")
    return made


def expand(value: Any, where: str, problems: Problems) -> Any:
    """Puts environment variables in place of `${NAME}` and `${NAME:-default}`, at any depth; `$$` is a dollar sign."""
    if isinstance(value, str):

        def variable(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if name is None:
                return "$"
            found = os.environ.get(name, default)
            if found is None:
                problems.add(
                    f"{where or 'settings'} = {value!r}: the environment variable {name} is not set; set it, or write "
                    f"${{{name}:-default}}"
                )
                return ""
            return found

        return _VARIABLE.sub(variable, value) if "$" in value else value
    if isinstance(value, Mapping):
        return {key: expand(item, f"{where}.{key}" if where else str(key), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, f"{where}[{index}]", problems) for index, item in enumerate(value)]
    return value


# ---- where settings come from ----------------------------------------------------------------------------------------


def gather(settings: object = None, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One dict of settings from whatever `configure` takes; raises ConfigError."""
    found: dict[str, Any]
    if settings is None:
        found = _from_environment() if not more else {}
    elif isinstance(settings, Mapping):
        dotted = any(isinstance(key, str) and key.startswith("metlog.") for key in settings)
        found = from_prefixed(settings) if dotted else dict(settings)
    elif isinstance(settings, Path):
        found = _from_file(settings)
    elif isinstance(settings, str):
        suffix = settings.rsplit(".", 1)[-1].lower()
        if suffix in {"toml", "ini", "cfg", "conf"} and not _URL.fullmatch(settings):
            found = _from_file(Path(settings))
        else:
            found = {"sender": settings}
    else:
        raise ConfigError(
            f"settings = {settings!r}: wants a dict, a URL, a path or keywords, not {type(settings).__name__}"
        )
    return {**found, **(more or {})}


def from_prefixed(mapping: Mapping[str, Any], prefix: str = "metlog.") -> dict[str, Any]:
    """Settings out of an application's own flat mapping: `metlog.sender = …`, `metlog.buffer.flush_interval = …`.

    What does not begin with the prefix is left alone, as SQLAlchemy's `engine_from_config` does.
    """
    made: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(key, str) or not key.startswith(prefix):
            continue
        *path, last = key[len(prefix) :].split(".")
        table = made
        for part in path:
            inner = table.setdefault(part, {})
            if isinstance(inner, str):  # `metlog.sender = udp` beside `metlog.sender.port = 1`
                inner = table[part] = {"name": inner}
            table = inner
        if isinstance(table.get(last), dict) and not isinstance(value, Mapping):
            table[last]["name"] = value
        else:
            table[last] = value
    return _listed(made)


def _listed(settings: dict[str, Any]) -> dict[str, Any]:
    """Text with a line an entry, or numbered tables, where a list is meant."""
    for key in ("filters", "plugins", "disabled_timers"):
        value = settings.get(key)
        if isinstance(value, str):
            parts = value.splitlines() if "\n" in value else re.split(r",\s*(?=[A-Za-z_*])", value)
            settings[key] = [part.strip() for part in parts if part.strip()]
        elif isinstance(value, Mapping):
            settings[key] = [value[number] for number in sorted(value, key=lambda n: (len(str(n)), str(n)))]
    if isinstance(settings.get("statsd"), str) and settings["statsd"].lower() in {"false", "no", "off", "0", ""}:
        settings["statsd"] = False
    return settings


def _from_environment() -> dict[str, Any]:
    """METLOG_CONFIG names a file; METLOG_SENDER, METLOG_LOGGER, METLOG_BUFFER__FLUSH_INTERVAL, … go before it."""
    made: dict[str, Any] = {}
    path = os.environ.get("METLOG_CONFIG")
    if path:
        made = _from_file(Path(path))
    flat = {
        "metlog." + key[len("METLOG_") :].lower().replace("__", "."): value
        for key, value in os.environ.items()
        if key.startswith("METLOG_") and key[len("METLOG_") :].lower().split("__")[0] in _KEYS
    }
    return {**made, **from_prefixed(flat)}


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    reader: Callable[[str, str], dict[str, Any]] = _toml if path.suffix == ".toml" else _ini
    return reader(text, str(path))


def _toml(text: str, name: str) -> dict[str, Any]:
    import tomllib

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not TOML: {error}") from error
    inner = found.get("metlog")
    if isinstance(inner, dict):
        return {**inner, **({"tests": found["tests"]} if "tests" in found and "tests" not in inner else {})}
    return found


def _ini(text: str, name: str) -> dict[str, Any]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=True)
    try:
        parser.read_string(text, name)
    except configparser.Error as error:
        raise ConfigError(f"{name}: not INI: {error}") from error
    found = from_prefixed(dict(_flat(parser)))
    if not found:
        raise ConfigError(
            f"{name}: no section [metlog] and no key metlog.…; begin with [metlog] and sender = {DEFAULT_SENDER}"
        )
    return found


def _flat(parser: Any) -> Iterator[tuple[str, str]]:
    for section in parser.sections():
        for key, value in parser.items(section):
            if section == "metlog" or section.startswith("metlog."):
                yield f"{section}.{key}", value
            elif key.startswith("metlog."):
                yield key, value
