"""Settings of the listener: one TOML file or the options of `metlog listen`, checked whole, all faults told at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec
from msgspec import Struct

from metlog.errors import ConfigError, Problems
from metlog.journal.routing import Route
from metlog.journal.segment import Clock
from metlog.journal.writer import JournalOptions
from metlog.listener.delivery.batches import Limits
from metlog.plugins import Component, check, suggest

__all__ = ["DEFAULT_INPUT", "InputConfig", "ListenerConfig", "OutputConfig", "from_file", "from_mapping"]

DEFAULT_INPUT: Final[Mapping[str, Any]] = {"name": "udp", "host": "127.0.0.1", "port": 5565}

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SIZES: Final = frozenset({"sync_bytes", "segment_bytes", "max_bytes", "min_free", "dead_bytes"})
_AGES: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|ms)?")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_WORDS: Final[Mapping[Any, str]] = {
    Path: "the path of a folder, as a text", str: "a text", int: "a whole number", tuple[str, ...]: 'a list of texts, as ["sync"]'
}  # fmt: skip


class InputConfig(Struct, frozen=True):
    """One `[[inputs]]` table."""

    id: str
    component: Component


class OutputConfig(Struct, frozen=True):
    """One `[[outputs]]` table: the output, which events it takes, how they are batched."""

    id: str
    component: Component
    spec: dict[str, Any]
    route: Route
    limits: dict[str, Any]


class General(Struct, frozen=True, kw_only=True):
    """`[listener]`; times in seconds, sizes in bytes."""

    data: Path = Path("metlog-data")
    journal: str = "main"
    """Name of the journal: listeners that share a data folder have one each."""
    drain_timeout: float = 10.0
    """What the outputs get at the end to finish what is journaled; the rest is handed on after the next start."""
    stall_after: float = 60.0
    """An output that has something to do and has not moved for so long makes `/healthz` say so."""
    dead_bytes: int = 64 << 20
    """Size that the dead letters of the inputs, and those of each output, are kept within."""
    streams: int = 100_000
    """Client streams that the loss accounting keeps in memory."""
    clock_past: float = float(Clock().past)
    clock_future: float = float(Clock().future)
    """How far a client's clock may be off; beyond, the event's timestamp is when it was received."""


class ListenerConfig(Struct, frozen=True):
    """Everything that a listener is started with."""

    general: General
    journal: JournalOptions
    inputs: tuple[InputConfig, ...]
    outputs: tuple[OutputConfig, ...]

    @property
    def clock(self) -> Clock:
        return Clock(int(self.general.clock_past), int(self.general.clock_future))


def from_file(path: Path, **overrides: Any) -> ListenerConfig:
    """Reads a TOML file; raises ConfigError with every fault in it. `overrides` as in `from_mapping`."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return from_mapping(settings, **overrides)
    except ConfigError as error:
        raise ConfigError(f"{path}: {line}" for line in error.problems) from error


def from_mapping(
    settings: Mapping[str, Any],
    *,
    data: Path | None = None,
    inputs: Sequence[Mapping[str, Any] | str] = (),
    without: Collection[str] = (),
) -> ListenerConfig:
    """Checks settings. `data` and `inputs` are what the command line says: it replaces the file's data folder, and its
    inputs of the same names; all others are added. `without` names inputs that are not wanted. Where the settings name no
    input, UDP 127.0.0.1:5565 is theirs; without outputs the lake is written."""
    problems = Problems()
    tables = {"listener", "journal", "inputs", "outputs"}
    for key in settings:
        if key not in tables:
            problems.add(f"{key}: no such table; {suggest(key, tables)}")
    general_table = dict(_table(settings, "listener", problems))
    if data is not None:
        general_table["data"] = str(data)
    elif "data" not in general_table and os.environ.get("METLOG_DATA"):
        general_table["data"] = os.environ["METLOG_DATA"]
    general = General(**_checked(General, general_table, "listener", problems))
    journal = JournalOptions(**_checked(JournalOptions, _table(settings, "journal", problems), "journal", problems))
    _check_values(general, journal, problems)
    ins = _inputs(settings.get("inputs", ()), inputs, without, problems)
    outs = _outputs(settings.get("outputs", ["lake"]), problems)
    problems.check()
    return ListenerConfig(general, journal, tuple(ins), tuple(outs))


def _table(settings: Mapping[str, Any], name: str, problems: Problems) -> Mapping[str, Any]:
    table = settings.get(name, {})
    if isinstance(table, Mapping):
        return table
    problems.add(f"{name} = {table!r}: wants a table")
    return {}


def _checked(kind: type[Struct], table: Mapping[str, Any], where: str, problems: Problems) -> dict[str, Any]:
    """The table's values as the struct's fields have them; every fault noted."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            problems.add(f"{where}.{key}: no such setting; {suggest(key, hints)}")
            continue
        try:
            if hints[key] is Path:
                values[key] = Path(msgspec.convert(value, str)).expanduser()
            elif key in _SIZES:
                values[key] = _size(value)
            elif hints[key] is float:
                values[key] = _seconds(value)
            else:
                values[key] = msgspec.convert(value, hints[key])
        except msgspec.ValidationError:
            problems.add(f"{where}.{key} = {value!r}: wants {_WORDS.get(hints[key], 'another value')}")
        except ValueError as error:
            problems.add(f"{where}.{key} = {value!r}: {error}")
    return values


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
    raise ValueError('wants bytes, as 67108864 or "64MB"')


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("wants a whole number")


def _seconds(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    if isinstance(value, str) and (match := _AGES.fullmatch(value.strip())):
        return float(match[1]) * _SECONDS[match[2] or "s"]
    raise ValueError('wants seconds, as 60 or "60s", "5m", "7d"')


def _check_values(general: General, journal: JournalOptions, problems: Problems) -> None:
    if not _ID.fullmatch(general.journal):
        problems.add(f"listener.journal = {general.journal!r}: wants letters, digits, _ and -")
    if journal.sync not in {"always", "interval", "never"}:
        problems.add(f"journal.sync = {journal.sync!r}: wants 'always', 'interval' or 'never'")
    if not 0.001 <= journal.sync_interval <= 60:
        problems.add(f"journal.sync_interval = {journal.sync_interval}: wants 0.001 to 60 seconds")
    if journal.segment_bytes < 4096:
        problems.add(f"journal.segment_bytes = {journal.segment_bytes}: wants 4096 bytes or more")
    if journal.segment_age < 0.1:
        problems.add(f"journal.segment_age = {journal.segment_age}: wants 0.1 seconds or more")
    if journal.max_bytes < 2 * journal.segment_bytes:
        problems.add(
            f"journal.max_bytes = {journal.max_bytes}: wants room for two segments (journal.segment_bytes = {journal.segment_bytes})"
        )
    if general.streams < 1:
        problems.add(f"listener.streams = {general.streams}: wants 1 or more")


def _list(specs: object, where: str, problems: Problems) -> list[Any]:
    if isinstance(specs, (list, tuple)):
        return list(specs)
    problems.add(f"{where} = {specs!r}: wants a list of tables ([[{where}]])")
    return []


def _inputs(
    specs: object, given: Sequence[Mapping[str, Any] | str], without: Collection[str], problems: Problems
) -> list[InputConfig]:
    replaced = {_name(spec) for spec in given} | set(without)
    listed = _list(specs, "inputs", problems) or [DEFAULT_INPUT]
    chosen = [spec for spec in listed if _name(spec) not in replaced] + list(given)
    if not chosen:
        problems.add("inputs: there is none left; leave --udp off out, or name another input")
    found: list[InputConfig] = []
    for index, spec in enumerate(chosen):
        where = f"inputs[{index}]"
        with problems.catch(where):
            spec, identity = _identified(spec, where)  # noqa: PLW2901 - without its id
            component = check("input", spec, where)
            component.build()  # opens nothing; a fault that only the input itself can find is told with all others
            taken = {known.id for known in found}
            name = identity or component.name
            number = 2
            while not identity and name in taken:  # two udp inputs need no names: nothing durable hangs on them
                name, number = f"{component.name}-{number}", number + 1
            if name in taken:
                problems.add(f"{where}.id = {name!r}: another input has this id")
            found.append(InputConfig(name, component))
    return found


def _name(spec: Any) -> str:
    if isinstance(spec, Mapping):
        return str(spec.get("name", ""))
    return str(spec).partition(":")[0]


def _identified(spec: Any, where: str) -> tuple[Any, str]:
    """The spec without its `id`, and that."""
    if not isinstance(spec, Mapping):
        return spec, ""
    rest = dict(spec)
    identity = rest.pop("id", "")
    if identity != "" and (not isinstance(identity, str) or not _ID.fullmatch(identity)):
        raise ConfigError(f"{where}.id = {identity!r}: wants letters, digits, _ and -")
    return rest, identity


def _outputs(specs: object, problems: Problems) -> list[OutputConfig]:
    found: list[OutputConfig] = []
    listed = _list(specs, "outputs", problems)
    if not listed:
        problems.add("outputs: wants one at least; without any, nothing would ever leave the journal")
    route_keys, limit_keys = get_type_hints(Route), get_type_hints(Limits)
    for index, spec in enumerate(listed):
        where = f"outputs[{index}]"
        with problems.catch(where):
            spec, identity = _identified(spec, where)  # noqa: PLW2901 - without its id
            rest = dict(spec) if isinstance(spec, Mapping) else spec
            route: dict[str, Any] = {}
            limits: dict[str, Any] = {}
            if isinstance(rest, dict):
                route = {key: rest.pop(key) for key in route_keys if key in rest}
                limits = {key: rest.pop(key) for key in limit_keys if key in rest}
            taken: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in _checked(Route, route, where, problems).items()
            }
            converted = Route(**taken)
            if not 0 <= converted.severity_max <= 7:
                problems.add(f"{where}.severity_max = {converted.severity_max}: wants 0 to 7 (RFC 5424)")
            component = check("output", rest, where)
            found_id = identity or component.name
            if any(found_id == known.id for known in found):
                problems.add(
                    f"{where}.id = {found_id!r}: another output has this id, which names its cursor; give this one an `id`"
                )
            checked_limits = _limits(limits, where, problems)
            component.build()  # a fault that only the output itself can find is told now, not by its process
            options = {"name": component.name, **msgspec.to_builtins(component.options, enc_hook=str)}
            found.append(OutputConfig(found_id, component, options, converted, checked_limits))
    return found


def _limits(table: Mapping[str, Any], where: str, problems: Problems) -> dict[str, Any]:
    converters: dict[str, Any] = {
        "batch_events": _count,
        "batch_bytes": _size,
        "batch_age": _seconds,
    }
    values = {}
    for key, value in table.items():
        try:
            values[key] = converters[key](value)
            if values[key] <= 0:
                raise ValueError("wants more than 0")
        except ValueError as error:
            problems.add(f"{where}.{key} = {value!r}: {error}")
    return values
