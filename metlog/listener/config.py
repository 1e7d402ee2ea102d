"""Settings of the listener: one TOML file or the options of `metlog listen`, checked whole, all faults told at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import msgspec
from msgspec import Meta, Struct

from metlog.config.sources import LISTENER_KEYS, SENDER_KEYS
from metlog.errors import ConfigError, Problems
from metlog.journal.routing import Route
from metlog.journal.segment import Clock
from metlog.journal.writer import JournalOptions
from metlog.lake.uris import is_remote, local_path, place_of
from metlog.listener.adapt import adapt_input, adapt_output
from metlog.listener.delivery.batches import Limits, limits_of
from metlog.listener.lakes import Lakes, Written, answering
from metlog.listener.signed import Signing, signing_of
from metlog.listener.upkeep.settings import LakeUpkeep, lake_upkeep
from metlog.plugins import Component, check, suggest
from metlog.plugins.schema import Seconds, Size, checked

if TYPE_CHECKING:
    from metlog.alerts.config import AlertSettings

__all__ = ["DEFAULT_INPUT", "InputConfig", "ListenerConfig", "OutputConfig", "from_file", "from_mapping"]

DEFAULT_INPUT: Final[Mapping[str, Any]] = {"name": "udp", "host": "127.0.0.1", "port": 5565}

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class InputConfig(Struct, frozen=True):
    """One `[[inputs]]` table."""

    id: str
    component: Component
    signing: Signing | None = None
    """What is demanded of the frames' signatures; None: nothing, and none is looked at."""


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
    drain_timeout: Seconds = 10.0
    """What the outputs get at the end to finish what is journaled; the rest is handed on after the next start."""
    stall_after: Seconds = 60.0
    """An output that has something to do and has not moved for so long makes `/healthz` say so."""
    dead_bytes: Size = 64 << 20
    """Size that the dead letters of the inputs, and those of each output, are kept within."""
    streams: Annotated[int, Meta(ge=1)] = 100_000
    """Client streams that the loss accounting keeps in memory."""
    clock_past: Seconds = float(Clock().past)
    clock_future: Seconds = float(Clock().future)
    """How far a client's clock may be off; beyond, the event's timestamp is when it was received."""


class ListenerConfig(Struct, frozen=True):
    """Everything that a listener is started with."""

    general: General
    journal: JournalOptions
    inputs: tuple[InputConfig, ...]
    outputs: tuple[OutputConfig, ...]
    lake: LakeUpkeep = LakeUpkeep()
    alerts: AlertSettings | None = None

    @property
    def where(self) -> str:
        """The data folder, or the URI of the data set, without its query, where no lake is in the folder."""
        lakes = self.lakes
        uri = lakes.uri.partition("?")[0]
        return uri if uri and len(lakes.answer) == 1 else str(self.general.data)

    @property
    def lakes(self) -> Lakes:
        """Which of several lakes answer."""
        written = [
            Written(output.id, str(output.spec.get("uri") or ""), output.route)
            for output in self.outputs
            if output.component.name == "lake"
        ]
        return answering(written, self.general.data)

    @property
    def clock(self) -> Clock:
        return Clock(int(self.general.clock_past), int(self.general.clock_future))


def from_file(path: Path, **overrides: Any) -> ListenerConfig:
    """Reads a TOML file; raises ConfigError with every fault in it. `overrides` as in `from_mapping`."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))
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
    data: Path | str | None = None,
    state: Path | str | None = None,
    inputs: Sequence[Mapping[str, Any] | str] = (),
    without: Collection[str] = (),
) -> ListenerConfig:
    """Checks settings. `data`, `state` and `inputs` are what the command line says: it replaces the file's data folder (or its URI,
    and then the local folder beside it), and its inputs of the same names; all others are added. `without` names inputs that are not
    wanted. Where the settings name no input, UDP 127.0.0.1:5565 is theirs; without outputs the lake is written."""
    problems = Problems()
    tables = {*LISTENER_KEYS, "alerts", "alerting"}
    for key in settings:
        if key in {"metlog", *SENDER_KEYS}:
            problems.add(f"{key}: this is the configuration of a sender (`metlog.configure`); {suggest('', tables)}")
        elif key not in tables:
            problems.add(f"{key}: no such table; {suggest(key, tables)}")
    general_table = dict(_table(settings, "listener", problems))
    if data is not None:
        general_table["data"] = str(data)
    elif "data" not in general_table and os.environ.get("METLOG_DATA"):
        general_table["data"] = os.environ["METLOG_DATA"]
    uri = _shared(general_table, state, problems)
    general = General(**checked(General, general_table, "listener", problems))
    journal = JournalOptions(**checked(JournalOptions, _table(settings, "journal", problems), "journal", problems))
    _check_values(general, journal, problems)
    ins = _inputs(settings.get("inputs", ()), inputs, without, problems)
    outs = _outputs(_at(uri, settings.get("outputs", ["lake"]), problems), general.data, problems)
    alerts = _alerts(settings, general.data, problems)
    lake = lake_upkeep(_table(settings, "lake", problems), problems, uri)
    problems.check()
    return ListenerConfig(general, journal, tuple(ins), tuple(outs), lake, alerts)


def _alerts(settings: Mapping[str, Any], data: Path, problems: Problems) -> AlertSettings | None:
    """Loaded only where there are some: a listener without alerts needs neither reports nor DuckDB in its own process."""
    if "alerts" not in settings and "alerting" not in settings:
        return None
    from metlog.alerts.config import alerts_of

    return alerts_of(settings, data, problems, in_listener=True)


def _shared(table: dict[str, Any], given: Path | str | None, problems: Problems) -> str:
    """The URI of the data set when `data` is one, and in the table the local folder for all that is not the data set."""
    state = table.pop("state", None) if given is None else str(given)
    table.pop("state", None)
    uri = str(table.get("data", ""))
    if not is_remote(uri):
        with problems.catch("listener.data"):
            if uri.startswith("file:"):
                table["data"] = str(local_path(uri))
        if state is not None:
            problems.add(
                f"listener.state = {str(state)!r}: only with a URI as listener.data; journal and data set share the data folder"
            )
        return ""
    table["data"] = str(state or os.environ.get("METLOG_STATE") or "metlog-data")
    return uri


def _at(uri: str, outputs: Any, problems: Problems) -> Any:
    """The outputs, those to the data set with its URI."""
    if not uri or not isinstance(outputs, (list, tuple)):
        return outputs
    found: list[Any] = []
    for spec in outputs:
        table = {"name": spec} if spec == "lake" else spec
        is_lake = isinstance(table, Mapping) and table.get("name") == "lake"
        if is_lake and table.get("uri", uri) != uri:
            problems.add(
                f"outputs: the lake has uri = {table['uri']!r}, and listener.data is {uri!r}: give one of them"
            )
        found.append({**table, "uri": uri} if is_lake else spec)
    return found


def _table(settings: Mapping[str, Any], name: str, problems: Problems) -> Mapping[str, Any]:
    table = settings.get(name, {})
    if isinstance(table, Mapping):
        return table
    problems.add(f"{name} = {table!r}: wants a table")
    return {}


def _check_values(general: General, journal: JournalOptions, problems: Problems) -> None:
    if not _ID.fullmatch(general.journal):
        problems.add(f"listener.journal = {general.journal!r}: wants letters, digits, _ and -")
    if journal.max_bytes < 2 * journal.segment_bytes:
        problems.add(
            f"journal.max_bytes = {journal.max_bytes}: wants room for two segments (journal.segment_bytes = {journal.segment_bytes})"
        )


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
            spec, signing = _signing(spec, where)  # noqa: PLW2901 - without the options of signatures
            component = check("input", spec, where)
            # Opens nothing; a fault that only the input itself can find is told with all others.
            built = adapt_input(component.build())
            if signing is not None and not built.takes_signed:
                problems.add(f"{where}.keys: the input {component.name} takes no signed frames; udp, zmq and http do")
            taken = {known.id for known in found}
            name = identity or component.name
            number = 2
            while not identity and name in taken:  # two udp inputs need no names: nothing durable hangs on them
                name, number = f"{component.name}-{number}", number + 1
            if name in taken:
                problems.add(f"{where}.id = {name!r}: another input has this id")
            found.append(InputConfig(name, component, signing))
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


def _signing(spec: Any, where: str) -> tuple[Any, Signing | None]:
    """The spec without what it says of signatures, and that."""
    if not isinstance(spec, Mapping):
        return spec, None
    rest = dict(spec)
    said = {key: rest.pop(key, None) for key in ("keys", "keys_file", "signed", "replay_window")}
    return rest, signing_of(where, **said)


def _outputs(specs: object, data: Path, problems: Problems) -> list[OutputConfig]:
    found: list[OutputConfig] = []
    lakes: dict[str, str] = {}
    files: dict[str, str] = {}
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
            converted = Route(**checked(Route, route, where, problems))
            component = check("output", rest, where)
            found_id = identity or component.name
            if any(found_id == known.id for known in found):
                problems.add(
                    f"{where}.id = {found_id!r}: another output has this id, which names its cursor; give this one an `id`"
                )
            checked_limits = checked(Limits, limits, where, problems)
            # Faults that only the output itself can find are told now, not by its process.
            built = adapt_output(component.build())
            limits_of(built, checked_limits, where)
            if component.name == "lake":
                place = place_of(component.options.get("uri", ""), data)
                if place in lakes:
                    problems.add(
                        f"{where}: the lakes {lakes[place]!r} and {found_id!r} would overwrite each other's files in {place}; "
                        "keep one, whose `types`, `tokens` and `loggers` name what both are to take, or give one another `uri`"
                    )
                lakes[place] = found_id
            if component.name == "file":
                file = str(Path(component.options["path"]).resolve())
                if file in files:
                    problems.add(
                        f"{where}: the outputs {files[file]!r} and {found_id!r} have the same file, {file}, and the second"
                        " would wait for ever; give each a file of its own"
                    )
                files[file] = found_id
            options = {"name": component.name, **msgspec.to_builtins(component.options, enc_hook=str)}
            found.append(OutputConfig(found_id, component, options, converted, checked_limits))
    return found
