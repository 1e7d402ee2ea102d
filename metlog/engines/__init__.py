"""Engines that answer SQL over the events, by name: `open_engine("spark://host:10000/metlog")`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, cast

from metlog.errors import ConfigError
from metlog.lake.interface import Engine
from metlog.plugins.registry import check

__all__ = ["Engine", "open_engine", "shown_engine"]


def open_engine(spec: object = "duckdb", *, where: str = "engine", data: Path | None = None, **context: Any) -> Engine:
    """The engine of a URL, a bare name or a table `{"name": …}`.

    data, and what else is known (timeout, queries, isolated, memory), go to engines that have such an option and were
    not told it by `spec`.
    Raises ConfigError that names the option at fault and what to install.
    """
    component = check("engine", spec, where)
    try:
        known = inspect.signature(component.factory).parameters
    except (TypeError, ValueError):
        known = {}  # type: ignore[assignment]
    for key, value in {"data": data, **context}.items():
        if key in known and value is not None:
            component.options.setdefault(key, value)
    try:
        made = component.factory(**component.options)
    except ConfigError as error:
        raise ConfigError([f"{where}: {problem}" for problem in error.problems]) from error
    if not isinstance(made, Engine):
        raise ConfigError(f"{where} = {component.name!r}: its factory gave {type(made).__name__}, which is no engine")
    return made


def shown_engine(spec: object) -> str:
    """A URL as it may be shown: scheme, host, port and database, no options."""
    text = spec if isinstance(spec, str) else str(dict(cast("Any", spec)).get("name", "")) if spec else "duckdb"
    return text.partition("?")[0]
