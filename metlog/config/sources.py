"""Where settings come from: a dict, a URL, TOML, INI, an application's own settings, the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from metlog.errors import ConfigError, Problems
from metlog.plugins.conversion import Unit, nearest, shown
from metlog.values import whole_number

__all__ = [
    "KEYS",
    "LISTENER_KEYS",
    "SENDER_KEYS",
    "as_list",
    "expand",
    "foreign",
    "from_prefixed",
    "gather",
    "is_off",
    "sources",
]

KEYS: Final[Mapping[str, Any]] = {
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
    "counters": Literal["sum", "each"],
    "timers": Literal["each", "summary"],
    "exit_timeout": Annotated[float, Unit("seconds")],
    "on_drop": Any,
    "tests": list[Any],
}
"""Every setting, and what its value is."""

SENDER_KEYS: Final = frozenset({"sender", "encoder", "filters", "buffer"})
LISTENER_KEYS: Final = frozenset({"inputs", "outputs", "listener", "journal", "lake"})
"""Keys that no configuration of another program has."""
_PROGRAMS: Final = (
    ("a sender", SENDER_KEYS, "`metlog.configure`, `metlog doctor --config` and `metlog test`"),
    ("a listener", LISTENER_KEYS, "`metlog listen --config` and `metlog doctor --listener`"),
    ("the page", {"tokens", "users", "user_header", "allowed_hosts"}, "`metlog serve --config`"),
)  # fmt: skip
"""Whose settings these are, their keys, and what takes them."""
_VARIABLE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*:.*", re.DOTALL)
_SUFFIXES: Final = (".toml", ".ini", ".cfg", ".conf")
_LISTS: Final = ("filters", "plugins", "disabled_timers")
_COMPONENTS: Final = ("sender", "encoder")
_TABLES: Final = ("buffer", "fields")
_OFF: Final = frozenset({"false", "no", "off", "0", ""})
_OTHER_VARIABLES: Final = frozenset({"config", "data", "traceback", "test", "tests"})
"""METLOG_… variables that mean something, or may, and are no settings."""


def gather(settings: object = None, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns one dict of settings from anything that `configure` takes; raises ConfigError."""
    found: dict[str, Any]
    if settings is None:
        found = _from_environment() if not more else {}
    elif isinstance(settings, Mapping):
        dotted = any(isinstance(key, str) and key.startswith("metlog.") for key in settings)
        found = from_prefixed(settings) if dotted else dict(settings)
    elif isinstance(settings, Path):
        found = _from_file(settings)
    elif isinstance(settings, str):
        found = _from_file(Path(settings)) if _is_path(settings) else {"sender": settings}
    else:
        raise ConfigError(
            f"settings = {shown('settings', settings)}: wants a dict, a URL, a path or keywords, not {type(settings).__name__}"
        )
    return _merged(found, more or {})


def foreign(keys: Iterable[object], known: Iterable[str]) -> str | None:
    """The fault of settings that are another program's: whose, and what takes them. None for what may be one's own, misspelt.

    `known`: the keys that are taken here.
    """
    given, taken = set(keys), set(known)
    for whose, theirs, how in _PROGRAMS:
        if found := sorted(str(key) for key in (given & theirs) - taken):
            return f"{', '.join(found)}: this is the configuration of {whose}, for {how}"
    return None


def sources() -> list[str]:
    """The variables of the environment that `configure` without arguments reads, for people."""
    return sorted(key for key in os.environ if key == "METLOG_CONFIG" or _setting(key) is not None)


def _is_path(text: str) -> bool:
    return not _URL.fullmatch(text) and (text.lower().endswith(_SUFFIXES) or os.sep in text)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the settings of `over`; tables are joined, but a component that is named anew begins anew."""
    made = dict(base)
    for key, value in over.items():
        before = made.get(key)
        anew = key in _COMPONENTS and isinstance(value, Mapping) and "name" in value
        if isinstance(before, str) and (key in _COMPONENTS or (key == "statsd" and not is_off(before))):
            before = {"name": before}
        if isinstance(before, Mapping) and isinstance(value, Mapping) and not anew:
            made[key] = {**before, **value}
        else:
            made[key] = value
    return made


# ---- flat mappings ---------------------------------------------------------------------------------------------------


def from_prefixed(mapping: Mapping[str, Any], prefix: str = "metlog.") -> dict[str, Any]:
    """Settings out of an application's own flat mapping: `metlog.sender = …`, `metlog.buffer.flush_interval = …`.

    What does not begin with the prefix is left alone, as SQLAlchemy's `engine_from_config` does. Dots nest; numbers
    make a list: `metlog.filters.0.name = redact`. A text beside a table, as `metlog.sender = udp` beside
    `metlog.sender.port = 1`, becomes its `name`; beside one of `fields` or `buffer` it raises ConfigError.
    """
    made: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(key, str) or not key.startswith(prefix):
            continue
        *path, last = key[len(prefix) :].split(".")
        table = made
        for part in path:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):  # `metlog.sender = udp` beside `metlog.sender.port = 1`
                inner = table[part] = _named(key, (*path, last), inner)
            table = inner
        if isinstance(table.get(last), dict) and not isinstance(value, Mapping):
            table[last].update(_named(key, (*path, last), value))
        else:
            table[last] = value
    return _listed({key: _numbered(value) for key, value in made.items()})


def _named(key: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The text of a component as the table that its options join; `key` is the one that came later."""
    if path[0] in _TABLES:
        raise ConfigError(f"{key}: stands beside another key that makes a table and a value of the same; leave out one")
    return {"name": value}


def _numbered(value: Any) -> Any:
    """Tables whose keys are numbers are lists, at any depth."""
    if not isinstance(value, dict):
        return value
    inner = {key: _numbered(item) for key, item in value.items()}
    places = [(place, key) for key in inner if (place := whole_number(str(key))) is not None]
    return [inner[key] for _, key in sorted(places)] if inner and len(places) == len(inner) else inner


def _listed(settings: dict[str, Any]) -> dict[str, Any]:
    """Text with a line an entry, or named tables, where a list is meant."""
    for key in _LISTS:
        value = settings.get(key)
        if isinstance(value, str):
            settings[key] = as_list(value)
        elif isinstance(value, Mapping):
            settings[key] = list(value.values())
    return settings


def is_off(statsd: object) -> bool:
    """Whether the setting `statsd`, or the text beside its table, is false: also as a text, of an INI file or a variable."""
    word = statsd.get("name") if isinstance(statsd, Mapping) else statsd
    return word is False or (isinstance(word, str) and word.strip().lower() in _OFF)


def as_list(text: str) -> list[str]:
    """The entries of a text: a line each, or parted by commas."""
    # A URL's query may hold commas of its own: there a comma parts entries only with a space behind it.
    between = r"\n" if "\n" in text else r",\s+" if "?" in text else ","
    return [part.strip() for part in re.split(between, text) if part.strip()]


# ---- the environment -------------------------------------------------------------------------------------------------


def _from_environment() -> dict[str, Any]:
    """METLOG_CONFIG names a file; METLOG_SENDER, METLOG_LOGGER, METLOG_BUFFER__FLUSH_INTERVAL, … go before it."""
    made: dict[str, Any] = {}
    path = os.environ.get("METLOG_CONFIG")
    text = ""
    if path:
        try:
            made = _from_file(Path(path))
            text = Path(path).read_text("utf-8", "replace")
        except ConfigError as error:
            raise ConfigError(f"METLOG_CONFIG = {path!r}: {line}" for line in error.problems) from error
    flat: dict[str, str] = {}
    wrong = []
    for key, value in os.environ.items():
        setting = _setting(key)
        if setting is not None:
            flat[f"metlog.{setting}"] = value
        elif key == "METLOG_ON_DROP":
            wrong.append(f"{key}: a callable is wanted there; set on_drop in Python")
        elif (near := _misspelt(key)) and f"${{{key}" not in text:
            wrong.append(f"{key} = {shown(key, value)}: no such setting; did you mean {near}?")
    if wrong:
        raise ConfigError(wrong)
    return _merged(made, from_prefixed(flat))


def _setting(variable: str) -> str | None:
    """`METLOG_BUFFER__MAX_FRAME` as `buffer.max_frame`; None for a variable that is no setting."""
    if not variable.startswith("METLOG_"):
        return None
    name = variable.removeprefix("METLOG_").lower().replace("__", ".")
    return name if name.partition(".")[0] in KEYS.keys() - {"tests", "on_drop"} else None


def _misspelt(variable: str) -> str | None:
    """The variable that was probably meant; None for one that has nothing to do with a setting."""
    if not variable.startswith("METLOG_"):
        return None
    first, *rest = variable.removeprefix("METLOG_").lower().split("__")
    if first in _OTHER_VARIABLES or first.partition("_")[0] in _OTHER_VARIABLES:
        return None
    near = nearest(first, KEYS, cutoff=0.8)
    return "METLOG_" + "__".join([near, *rest]).upper() if near else None


# ---- files -----------------------------------------------------------------------------------------------------------


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    reader: Callable[[str, Path], dict[str, Any]] = _toml if path.suffix == ".toml" else _ini
    problems = Problems()
    found: dict[str, Any] = expand(reader(text, path), "", problems)
    problems.check()
    return found


def _toml(text: str, path: Path) -> dict[str, Any]:
    import tomllib

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    inner = found.get("metlog")
    if isinstance(inner, dict):
        return {**inner, **({"tests": found["tests"]} if "tests" in found and "tests" not in inner else {})}
    return found


def _ini(text: str, path: Path) -> dict[str, Any]:
    import configparser

    # As PasteDeploy reads an application's INI: names keep their case, and [DEFAULT] is no part of our section.
    parser = configparser.ConfigParser(interpolation=None, strict=True, default_section="")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text, str(path))
    except configparser.Error as error:
        raise ConfigError(f"{path}: not INI: {error}") from error
    here = str(path.absolute().parent)
    found = from_prefixed({key: value.replace("%(here)s", here) for key, value in _flat(parser)})
    if not found:
        raise ConfigError(
            f"{path}: no section [metlog] and no key metlog.…; begin with [metlog] and sender = udp://127.0.0.1:5565"
        )
    return found


def _flat(parser: Any) -> Iterator[tuple[str, str]]:
    for section in parser.sections():
        for key, value in parser.items(section):
            if section == "metlog" or section.startswith("metlog."):
                yield f"{section}.{key}", value
            elif key.startswith("metlog."):
                yield key, value


def expand(value: Any, where: str, problems: Problems) -> Any:
    """Puts environment variables in place of `${NAME}` and `${NAME:-default}`, at any depth; `$$` is a dollar sign.

    For files only: what comes from Python or from a variable itself is meant as it is, and may be a secret with a dollar sign.
    """
    if isinstance(value, str):

        def variable(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if name is None:
                return "$"
            found = os.environ.get(name, default)
            if found is None:
                problems.add(
                    f"{where or 'settings'} = {shown(where, value)}: the environment variable {name} is not set; set it, or write "
                    f"${{{name}:-default}}"
                )
                return ""
            return found

        return _VARIABLE.sub(variable, value) if "$" in value else value
    if isinstance(value, Mapping):
        return {key: expand(item, f"{where}.{key}" if where else str(key), problems) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [expand(item, f"{where}[{index}]", problems) for index, item in enumerate(value)]
    return value
