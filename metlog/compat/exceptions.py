"""The original's exceptions."""

from __future__ import annotations

from collections.abc import Iterable

from metlog.errors import ConfigError

__all__ = ["EnvironmentNotFoundError", "MethodNotFoundError"]


class EnvironmentNotFoundError(ConfigError):
    """A configuration names a variable that the environment does not have; `varname` is the first such one."""

    def __init__(self, varname: str, problems: str | Iterable[str] | None = None) -> None:
        self.varname = varname
        super().__init__(problems or f"the environment variable {varname} is not set")


class MethodNotFoundError(ConfigError):
    """A method lookup failed. The original defined it, and raised it nowhere."""
