"""Names to components: factories of entry points, options checked by the factory's own signature."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, get_type_hints

from metlog.core.adapt import adapt_encoder, adapt_filter, adapt_sender
from metlog.errors import ConfigError, Problems
from metlog.plugins.conversion import convert, number, shown, suggest
from metlog.plugins.loading import load
from metlog.plugins.members import verify

__all__ = ["Component", "build", "check", "components", "parse_spec"]

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.+-]*):(.*)", re.DOTALL)
_OPTION: Final = re.compile(r"([A-Za-z_]\w*)(?:\[\d+\])*(?:\.[\w.\[\]]+)?(?: = |: )")
"""How a fault begins that names an option: `port = 0: …`, `senders[1].sender = 'x': …`, `token: …`."""

_METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "sender": ("send", "flush", "close"),
    "encoder": ("encode", "frame", "decode"),
    "filter": ("__call__",),
    "plugin": ("__call__",),
}
"""What an object must have to be taken as it is, without a name."""

_ADAPTERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "sender": adapt_sender,
    "encoder": adapt_encoder,
    "filter": adapt_filter,
}


class Component:
    """A component whose options were checked. `build` makes it; `prepare` and `open` are the two steps of that."""

    __slots__ = ("_made", "_opened", "factory", "kind", "name", "options", "where")

    def __init__(
        self, kind: str, name: str, where: str, factory: Callable[..., Any], options: dict[str, Any] | None = None
    ) -> None:
        self.kind, self.name, self.where, self.factory, self.options = kind, name, where, factory, options or {}
        self._made: Any = None
        self._opened = False

    @property
    def opens_late(self) -> bool:
        """Whether the factory opens nothing, since what it makes has an `open()` for that."""
        return hasattr(self.factory, "open")

    def prepare(self) -> Any:
        """Calls the factory, once; raises ConfigError that names the key at fault."""
        if self._made is None:
            try:
                made = self.factory(**self.options)
                if made is not None:
                    verify(self.kind, made)
                    self._made = _adapted(self.kind, made)
            except Exception as error:
                raise ConfigError(self._located(error)) from error
            if self._made is None:
                raise ConfigError(f"{self.where} = {self.name!r}: its factory gave nothing")
        return self._made

    def open(self) -> None:
        """Calls the sender's `open()`; once, after everything has proved right."""
        made = self.prepare()
        if self._opened:
            return
        try:
            made.open()
        except Exception as error:
            raise ConfigError(self._located(error)) from error
        self._opened = True

    def build(self) -> Any:
        """The component, prepared before or now; the next call makes another one."""
        made = self.prepare()
        self._made, self._opened = None, False
        return made

    def discard(self) -> None:
        """Closes a sender that was prepared and is not used."""
        made, self._made = self._made, None
        if made is not None and self.kind == "sender":
            with contextlib.suppress(Exception):  # a fault is being reported already, and nothing was sent
                made.close()

    def _located(self, error: Exception) -> list[str]:
        """Faults under this component's key; those that name one of its options become `sender.port = 0: …`."""
        if isinstance(error, ConfigError):
            lines = error.problems
        elif isinstance(error, ValueError | TypeError):
            lines = [str(error)]
        else:
            lines = [f"{self.name!r} cannot be made: {type(error).__name__}: {error}"]
        try:
            known = set(inspect.signature(self.factory).parameters)
        except (TypeError, ValueError):
            known = set(self.options)
        located = []
        for line in lines:
            found = _OPTION.match(line)
            dot = "." if found and found[1] in known else ": "
            located.append(line if line.startswith(f"{self.where}.") else f"{self.where}{dot}{line}")
        return located


def _adapted(kind: str, made: Any) -> Any:
    """Returns a sender, encoder or filter that has every hook."""
    adapt = _ADAPTERS.get(kind)
    return made if adapt is None else adapt(made)


def parse_spec(spec: object, where: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a table `{"name": …}`, a bare name or a URL; a table's name may be a URL, and adds to it."""
    if isinstance(spec, str):
        match = _URL.fullmatch(spec)
        if match is None:
            if not spec or not spec.replace("_", "").replace("-", "").replace(".", "").isalnum():
                raise ConfigError(
                    f"{where} = {shown(where, spec)}: neither a name nor a URL such as udp://127.0.0.1:5565"
                )
            return spec, {}
        return match[1].lower(), _url_options(spec, match[2], where)
    if isinstance(spec, Mapping):
        options = dict(spec)
        name = options.pop("name", None)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{where}.name = {name!r}: a component's table needs its name, such as name = 'udp'")
        if _URL.fullmatch(name):
            name, inner = parse_spec(name, where)
            options = {**inner, **options}
        return name, options
    made = f" (an object of the class is taken, too: {spec.__name__}(…))" if isinstance(spec, type) else ""
    raise ConfigError(
        f"{where} = {shown(where, spec)}: wants a name, a URL or a table with `name`, not {type(spec).__name__}{made}"
    )


def _url_options(url: str, rest: str, where: str) -> dict[str, Any]:
    from urllib.parse import parse_qsl, unquote, urlsplit

    options: dict[str, Any] = {}
    try:
        parts = urlsplit("x:" + rest)  # the scheme may hold characters that urlsplit does not know
        port = parts.port
    except ValueError as error:  # it quotes what may be a password
        wrong = "its port is no number from 0 to 65535" if "Port" in str(error) else "its host is none"
        raise ConfigError(f"{where} = {shown(where, url)}: {wrong}") from None
    if parts.username or parts.password:
        raise ConfigError(f"{where}: a URL must not hold a user name or password; use the options of the component")
    if parts.fragment:
        raise ConfigError(
            f"{where} = {shown(where, url)}: a URL here has no fragment (#…); write %23 for a # in a value"
        )
    if any("=" not in part for part in parts.query.split("&") if part):
        raise ConfigError(
            f"{where} = {shown(where, url)}: an option in a URL is NAME=VALUE; write %26 for a & in a value"
        )
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
    """Finds the factory and converts the options by its annotations; opens nothing. ConfigError has all faults.

    An object that has a component's methods already is taken as it is.
    """
    if not isinstance(spec, str | Mapping) and _is_component(kind, spec):
        return Component(kind, getattr(spec, "__name__", type(spec).__name__), where, lambda: spec)
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
                advice = suggest(key, known)
                if key == "path" and "host" in known and spec == f"{name}:{value}":
                    advice = f"write {name}://{value}"  # the path of a URL without slashes is the host that was meant
                problems.add(f"{where}.{key}{number(value)}: {kind} {name!r} has no such option; {advice}")
            continue
        try:
            converted[key] = convert(value, hints.get(key, Any))
        except ValueError as error:
            problems.add(f"{where}.{key} = {shown(key, value)}: {error}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in options:
            problems.add(f"{where}.{key}: {kind} {name!r} needs this option; {_example(where, name, key)}")
    problems.check()
    return Component(kind, name, where, factory, converted)


def _is_component(kind: str, spec: object) -> bool:
    methods = _METHODS.get(kind, ())
    return bool(methods) and not isinstance(spec, type) and all(callable(getattr(spec, name, None)) for name in methods)


def _example(where: str, name: str, key: str) -> str:
    return f"write {where.rpartition('.')[2]} = {{ name = '{name}', {key} = … }}"


def build(kind: str, spec: object, where: str) -> Any:
    """Checks and prepares one component; what a composite (`fallback`, `signed`, …) calls for its parts."""
    return check(kind, spec, where).build()


def components(kind: str, specs: object, where: str, problems: Problems) -> list[Component]:
    """Checks a list of specs, each fault under its own index."""
    if specs is None:
        return []
    if isinstance(specs, (str, Mapping)) or not isinstance(specs, Iterable):
        problems.add(f"{where} = {shown(where, specs)}: wants a list of {kind}s, each a name, a URL or a table")
        return []
    found = []
    for index, spec in enumerate(specs):
        with problems.catch(f"{where}[{index}]"):
            found.append(check(kind, spec, f"{where}[{index}]"))
    return found
