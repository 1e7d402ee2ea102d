"""Entry points found by `importlib.metadata` and loaded by stevedore.

stevedore's own search keeps a cache file, and takes most of a second where it must be written; its manager is given what was found.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from metlog.errors import ConfigError
from metlog.plugins.conversion import suggest

__all__ = ["GROUPS", "Plugin", "installed", "load", "require"]

GROUPS: Final[Mapping[str, str]] = {
    "encoder": "metlog.encoders",
    "sender": "metlog.senders",
    "filter": "metlog.filters",
    "plugin": "metlog.plugins",
    "input": "metlog.inputs",
    "output": "metlog.outputs",
    "report": "metlog.reports",
    "engine": "metlog.engines",
    "target": "metlog.targets",
}
"""Entry-point group of each kind of component."""

_EXTRAS: Final[Mapping[str, str]] = {"zmq": "zmq", "httpx": "http", "confluent_kafka": "kafka", "duckdb": "listener"}


class Plugin(NamedTuple):
    """One installed entry point."""

    kind: str
    name: str
    target: str
    origin: str


def installed(kind: str) -> list[Plugin]:
    """Every installed component of a kind, by name; imports none of them."""
    found = [
        Plugin(kind, point.name, point.value, f"{point.dist.name} {point.dist.version}" if point.dist else "?")
        for point in _points(GROUPS[kind])
    ]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.origin))


def load(kind: str, name: str, where: str) -> Callable[..., Any]:
    """The factory behind a name; raises ConfigError that names the nearest one, or what its import lacks."""
    from stevedore import DriverManager
    from stevedore.exception import MultipleMatches, NoMatches

    failed: list[str] = []

    def on_failure(manager: object, point: object, error: BaseException) -> None:
        failed.append(f"{type(error).__name__}: {error}")

    class Manager(DriverManager[Any]):
        def list_entry_points(self) -> list[Any]:
            found = {point.value: point for point in _points(self.namespace) if point.name == name}
            return list(found.values())

    _quiet()
    try:
        manager = Manager(
            GROUPS[kind], name, on_load_failure_callback=on_failure, on_missing_entrypoints_callback=lambda _: None
        )
    except MultipleMatches as error:
        raise ConfigError(f"{where} = {name!r}: more than one package registers this name ({error})") from error
    except NoMatches:
        if failed:
            raise ConfigError(
                f"{where} = {name!r}: the {kind} is installed and cannot be loaded: {failed[0]}{_extra(failed[0])}"
            ) from None
        names = {plugin.name for plugin in installed(kind)}
        raise ConfigError(f"{where} = {name!r}: no such {kind}; {suggest(name, names)}") from None
    factory: Callable[..., Any] = manager.driver
    return factory


def require(owner: str, extra: str, modules: Sequence[str]) -> None:
    """Raises ModuleNotFoundError with the extra to install when one of the modules is not there; imports none of them."""
    for module in modules:
        if module not in sys.modules and importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f'{owner} needs {module}: pip install "metlog[{extra}]"', name=module)


def _points(group: str) -> tuple[Any, ...]:
    return tuple(_all_points(tuple(sys.path)).select(group=group))


@lru_cache(maxsize=1)
def _all_points(path: tuple[str, ...]) -> Any:
    """Every entry point of every distribution, read once: all groups lie in the same files."""
    from importlib.metadata import entry_points

    return entry_points()


@lru_cache(maxsize=1)
def _quiet() -> None:
    """Keeps stevedore's lines about metlog's entry points out of an application's DEBUG log: one a component."""
    logging.getLogger("stevedore.extension").addFilter(_is_not_ours)


def _is_not_ours(record: logging.LogRecord) -> bool:
    about = record.args[0] if isinstance(record.args, tuple) and record.args else None
    return record.levelno > logging.DEBUG or not str(getattr(about, "group", "")).startswith("metlog.")


def _extra(failure: str) -> str:
    """What to install when one of metlog's own extras is what an import lacks."""
    found = re.fullmatch(r"ModuleNotFoundError: No module named '(\w+).*'", failure)
    extra = _EXTRAS.get(found[1]) if found else None
    return f'; pip install "metlog[{extra}]"' if extra else ""
