"""The original's INI files as the dict that `client_from_dict_config` takes."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from metlog.compat.exceptions import EnvironmentNotFoundError
from metlog.errors import ConfigError

__all__ = ["dict_from_stream_config", "nest_prefixes"]

_INTEGER: Final = re.compile(r"-?[0-9]+")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")
_TRUE: Final = frozenset({"true", "t", "on", "yes"})
_FALSE: Final = frozenset({"false", "f", "off", "no"})


class _Unset(Exception):
    """A variable that the environment does not have."""


def dict_from_stream_config(stream: TextIO, section: str) -> dict[str, Any]:
    """The settings of a section, and of the sections `SECTION_filter_…` and `SECTION_plugin_…` beside it.

    Whole numbers, truth values, lists (a line each) and `${VARIABLE}` are converted. Raises ConfigError with all faults
    (EnvironmentNotFoundError where all of them are variables that are not set).
    """
    # As Python 2's SafeConfigParser: %(name)s is put in, `;` behind a blank begins a comment, the last of two keys counts.
    parser = configparser.ConfigParser(strict=False, inline_comment_prefixes=(";",))
    try:
        parser.read_file(stream)
    except configparser.Error as error:
        raise ConfigError(f"not INI: {error}") from error
    if not parser.has_section(section):
        there = ", ".join(f"[{name}]" for name in parser.sections()) or "none"
        raise ConfigError(f"[{section}]: no such section; there is {there}")
    read = _Reader(parser)
    made = read.section(section)
    filters: list[tuple[str, dict[str, Any]]] = []
    plugins: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in parser.sections():
        kind = next((kind for kind in ("filter", "plugin") if name.startswith(f"{section}_{kind}")), None)
        if kind is None:
            continue
        options = read.section(name, verbatim="provider")
        provider = options.pop("provider", None)
        if not provider:
            read.problems.append(f"[{name}] provider: missing; wants the dotted name of what makes the {kind}")
        elif kind == "filter":
            filters.append((provider, options))
        else:
            plugins[name.removeprefix(f"{section}_plugin_")] = (provider, options)
    read.check()
    return nest_prefixes({**made, "filters": filters, "plugins": plugins})


class _Reader:
    """Converts values, and gathers every fault."""

    def __init__(self, parser: configparser.ConfigParser) -> None:
        self.problems: list[str] = []
        self.unset: list[str] = []
        self._parser = parser

    def section(self, section: str, verbatim: str | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key in self._parser.options(section):
            try:
                text = self._parser.get(section, key)
                made[key] = text if key == verbatim else _convert(text)
            except configparser.Error as error:
                reason = str(error).replace("\n", " ")
                self.problems.append(f"[{section}] {key}: {reason}; a % of its own is written %%")
            except _Unset as error:
                self.unset.append(str(error))
                self.problems.append(f"[{section}] {key}: the environment variable {error} is not set; set it")
        return made

    def check(self) -> None:
        if self.unset and len(self.unset) == len(self.problems):
            raise EnvironmentNotFoundError(self.unset[0], self.problems)
        if self.problems:
            raise ConfigError(self.problems)


def _convert(value: str) -> Any:
    if "\n" in value:
        return [_convert(line) for line in value.split("\n") if line.strip()]
    value = value.strip()
    if _INTEGER.fullmatch(value):
        return int(value)
    if value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    return _VARIABLE.sub(_variable, value)


def _variable(match: re.Match[str]) -> str:
    found = os.environ.get(match[1])
    if found is None:
        raise _Unset(match[1])
    return found


def nest_prefixes(
    config_dict: Mapping[str, Any], prefixes: Sequence[str] = ("sender", "global"), separator: str = "_"
) -> dict[str, Any]:
    """The settings, with those that begin with a prefix (`sender_class`, …) in a dict under it; they go before what is there."""
    nested = dict(config_dict)
    for prefix in prefixes:
        start = prefix + separator
        inner = {key[len(start) :]: nested.pop(key) for key in list(nested) if key.startswith(start)}
        if inner:
            nested[prefix] = {**(nested.get(prefix) or {}), **inner}
    return nested
