"""Names to components: entry points loaded through stevedore, options checked by the factory's own signature."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec

from metlog.errors import ConfigError, Problems

__all__ = ["GROUPS", "Component", "Plugin", "build", "check", "components", "installed", "load", "parse_spec"]

GROUPS: Final[Mapping[str, str]] = {
    "encoder": "metlog.encoders",
    "sender": "metlog.senders",
    "filter": "metlog.filters",
    "plugin": "metlog.plugins",
    "input": "metlog.inputs",
    "output": "metlog.outputs",
    "report": "metlog.reports",
}
"""Entry-point group of each kind of component."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.+-]*):(.*)", re.DOTALL)


class Component(NamedTuple):
    """A component that was checked and not yet built: calling it opens nothing that its options do not ask for."""

    kind: str
    name: str
    where: str
    factory: Callable[..., Any]
    options: dict[str, Any]

    def build(self) -> Any:
        """Calls the factory; raises ConfigError that names the key at fault."""
        problems = Problems()
        made = None
        with problems.catch(self.where):
            made = self.factory(**self.options)
        problems.check()
        return made


class Plugin(NamedTuple):
    """One installed entry point."""

    kind: str
    name: str
    target: str
    origin: str


def suggest(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or the list of what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is {', '.join(names)}" if names else "there is none"


def installed(kind: str) -> list[Plugin]:
    """Every installed component of a kind, by name, nothing imported."""
    from importlib.metadata import entry_points

    found = [
        Plugin(kind, point.name, point.value, f"{point.dist.name} {point.dist.version}" if point.dist else "?")
        for point in entry_points(group=GROUPS[kind])
    ]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.origin))


def load(kind: str, name: str, where: str) -> Callable[..., Any]:
    """The factory behind a name; raises ConfigError that names the nearest one, or what its import lacks."""
    from stevedore import DriverManager
    from stevedore.exception import MultipleMatches, NoMatches

    failed: list[str] = []

    def on_failure(manager: object, point: object, error: BaseException) -> None:
        failed.append(f"{type(error).__name__}: {error}")

    try:
        manager: Any = DriverManager(
            GROUPS[kind], name, on_load_failure_callback=on_failure, on_missing_entrypoints_callback=lambda _: None
        )
    except MultipleMatches as error:
        raise ConfigError(f"{where} = {name!r}: more than one package registers this name ({error})") from error
    except NoMatches:
        if failed:
            raise ConfigError(
                f"{where} = {name!r}: the {kind} is installed and cannot be loaded: {failed[0]}"
            ) from None
        names = {plugin.name for plugin in installed(kind)}
        raise ConfigError(f"{where} = {name!r}: no such {kind}; {suggest(name, names)}") from None
    factory: Callable[..., Any] = manager.driver
    return factory


def parse_spec(spec: object, where: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a table `{"name": …}`, a bare name or a URL."""
    if isinstance(spec, str):
        match = _URL.fullmatch(spec)
        if match is None:
            if not spec or not spec.replace("_", "").replace("-", "").replace(".", "").isalnum():
                raise ConfigError(f"{where} = {spec!r}: neither a name nor a URL such as udp://127.0.0.1:5565")
            return spec, {}
        return match[1].lower(), _url_options(spec, match[2], where)
    if isinstance(spec, Mapping):
        options = dict(spec)
        name = options.pop("name", None)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{where}.name = {name!r}: a component's table needs its name, a string")
        return name, options
    raise ConfigError(f"{where} = {spec!r}: wants a name, a URL or a table with `name`, not {type(spec).__name__}")


def _url_options(url: str, rest: str, where: str) -> dict[str, Any]:
    from urllib.parse import parse_qsl, unquote, urlsplit

    options: dict[str, Any] = {}
    try:
        parts = urlsplit("x:" + rest)  # the scheme may hold characters that urlsplit does not know
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{where} = {url!r}: {error}") from error
    if parts.username or parts.password:
        raise ConfigError(f"{where}: a URL must not hold a user name or password; use the options of the component")
    if parts.fragment:
        raise ConfigError(f"{where} = {url!r}: a URL here has no fragment (#{parts.fragment})")
    if parts.hostname:
        options["host"] = parts.hostname
    if port is not None:
        options["port"] = port
    if parts.path:
        options["path"] = unquote(parts.path)
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in options:
            known = options[key]
            options[key] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            options[key] = value
    return options


def check(kind: str, spec: object, where: str) -> Component:
    """Finds the factory and converts the options by its annotations; opens nothing. ConfigError has all faults."""
    name, options = parse_spec(spec, where)
    factory = load(kind, name, where)
    try:
        signature = inspect.signature(factory)
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)
    except (TypeError, ValueError, NameError):
        return Component(kind, name, where, factory, options)
    problems = Problems()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    known = {key: p for key, p in signature.parameters.items() if p.kind in {p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD}}
    converted: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            if takes_any:
                converted[key] = value
            else:
                problems.add(f"{where}.{key}: {kind} {name!r} has no such option; {suggest(key, known)}")
            continue
        try:
            converted[key] = convert(value, hints.get(key, Any))
        except (msgspec.ValidationError, ValueError) as error:
            problems.add(f"{where}.{key} = {value!r}: {error}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in options:
            problems.add(f"{where}.{key}: {kind} {name!r} needs this option")
    problems.check()
    return Component(kind, name, where, factory, converted)


def convert(value: Any, hint: Any) -> Any:
    """A value from a file, URL or environment as what an annotation says; raises ValueError or ValidationError."""
    if hint is Any or hint is inspect.Parameter.empty or "Callable" in str(hint):
        return value
    if isinstance(value, str) and re.search(r"\b(list|tuple|set|frozenset|Sequence)\[", str(hint)):
        try:
            return msgspec.convert(value, hint, strict=False)  # `str | list[str]` takes the text as it is
        except msgspec.ValidationError:
            value = [part.strip() for part in value.split(",")] if value else []
    try:
        return msgspec.convert(value, hint, strict=False)
    except TypeError:  # an annotation that msgspec does not know: the factory checks for itself
        return value


def build(kind: str, spec: object, where: str) -> Any:
    """Checks and builds one component; what a composite (`tee`, `signed`, …) calls for its parts."""
    return check(kind, spec, where).build()


def components(kind: str, specs: object, where: str, problems: Problems) -> list[Component]:
    """Checks a list of specs, each fault under its own index."""
    if specs is None:
        return []
    if isinstance(specs, (str, Mapping)) or not isinstance(specs, Iterable):
        problems.add(f"{where} = {specs!r}: wants a list of {kind}s, each a name, a URL or a table")
        return []
    found = []
    for index, spec in enumerate(specs):
        with problems.catch(f"{where}[{index}]"):
            found.append(check(kind, spec, f"{where}[{index}]"))
    return found
