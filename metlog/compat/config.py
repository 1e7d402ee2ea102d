"""The original's configuration, INI and dict, mapped onto this one's senders, filters and plugins."""

from __future__ import annotations

import configparser
import copy
import importlib
import io
import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from textwrap import dedent
from typing import Any, Final, TextIO

import msgspec
from msgspec.structs import replace

from metlog.compat.client import CLIENT_HOLDER, CompatClient
from metlog.config import plan
from metlog.encoders.json import JsonEncoder
from metlog.errors import ConfigError, Problems
from metlog.event import Event
from metlog.plugins import Component, check

__all__ = [
    "client_from_dict_config", "client_from_stream_config", "client_from_text_config", "dict_from_stream_config",
]  # fmt: skip

_HANDSHAKE: Final = (
    "ZmqHandshakePubSender has no counterpart: its handshake only told whether a subscriber was there; use the sender zmq "
    "with pattern push, which keeps frames until one is"
)
_SENDERS: Final[Mapping[str, str]] = {
    "UdpSender": "udp",
    "ZmqPubSender": "zmq",
    "StdOutSender": "stdout",
    "FileSender": "file",
    "DebugCaptureSender": "memory",
    "StdLibLoggingSender": "logging",
    "NoSendSender": "null",
}
_OPTIONS: Final[Mapping[str, Mapping[str, str | None]]] = {  # None: it had a meaning there that is gone, and none here
    "UdpSender": {"host": "host", "port": "port"},
    "ZmqPubSender": {
        "bindstrs": "endpoint", "queue_length": "hwm", "pool_size": None, "livecheck": None, "debug_stderr": None,
    },
    "StdOutSender": {},
    "FileSender": {"filepath": "path"},
    "DebugCaptureSender": {},
    "StdLibLoggingSender": {"logger_name": "logger"},
    "NoSendSender": {},
}  # fmt: skip
_POSITIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "UdpSender": ("host", "port"),
    "ZmqPubSender": ("bindstrs",),
    "FileSender": ("filepath",),
    "StdLibLoggingSender": ("logger_name",),
}
_FILTERS: Final[Mapping[str, str]] = {
    "severity_max_provider": "severity_max",
    "type_blacklist_provider": "type_deny",
    "type_whitelist_provider": "type_allow",
    "type_severity_max_provider": "type_severity_max",
}
_INTEGER: Final = re.compile(r"-?[0-9]+")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


# ---- INI to dict -----------------------------------------------------------------------------------------------------


def dict_from_stream_config(stream: TextIO, section: str) -> dict[str, Any]:
    """The dict that `client_from_dict_config` takes, out of INI text; ConfigError for what is not INI."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_file(stream)
        main = {key: _convert(value) for key, value in parser.items(section)}
    except configparser.Error as error:
        raise ConfigError(f"[{section}]: {error}") from error
    filters = []
    plugins = {}
    for name in parser.sections():
        kind, options = name.removeprefix(f"{section}_"), dict(parser.items(name))
        if name == kind or not kind.startswith(("filter", "plugin")):
            continue
        provider = options.pop("provider", None)
        if not provider:
            raise ConfigError(f"[{name}] provider: missing; it is the dotted name of what makes the {kind[:6]}")
        made = (provider, {key: _convert(value) for key, value in options.items()})
        if kind.startswith("filter"):
            filters.append(made)
        else:
            plugins[kind.removeprefix("plugin_")] = made
    return _nest({**main, "filters": filters, "plugins": plugins})


def _convert(value: str) -> Any:
    if "\n" in value:
        return [_convert(line) for line in value.split("\n") if line.strip()]
    value = value.strip()
    if _INTEGER.fullmatch(value):
        return int(value)
    if value.lower() in {"true", "t", "on", "yes"}:
        return True
    if value.lower() in {"false", "f", "off", "no"}:
        return False

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{value!r}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    return _VARIABLE.sub(variable, value)


def _nest(config: MutableMapping[str, Any]) -> dict[str, Any]:
    nested = dict(config)
    for prefix in ("sender", "global"):
        inner = {key[len(prefix) + 1 :]: nested.pop(key) for key in list(nested) if key.startswith(f"{prefix}_")}
        if inner:
            nested[prefix] = {**nested.get(prefix, {}), **inner}
    return nested


# ---- dict to client --------------------------------------------------------------------------------------------------


def client_from_text_config(
    text: str, section: str, client: CompatClient | None = None, clear_global: bool = False
) -> CompatClient:
    """Configures a client (a new one unless given) from INI text; `clear_global` forgets the global settings."""
    return client_from_stream_config(io.StringIO(dedent(text)), section, client, clear_global)


def client_from_stream_config(
    stream: TextIO, section: str, client: CompatClient | None = None, clear_global: bool = False
) -> CompatClient:
    """As `client_from_text_config`, from an open file."""
    return client_from_dict_config(dict_from_stream_config(stream, section), client, clear_global)


def client_from_dict_config(
    config: Mapping[str, Any], client: CompatClient | None = None, clear_global: bool = False
) -> CompatClient:
    """Configures a client (a new one unless given) from the original's dict; raises ConfigError with every fault."""
    settings = _nest(copy.deepcopy(dict(config)))
    problems = Problems()
    sender = None
    with problems.catch("sender"):
        sender = _sender(dict(settings.get("sender") or {}))
    filters: list[Component] = []
    for index, (provider, options) in enumerate(settings.get("filters") or []):
        with problems.catch(f"filters[{index}]"):
            filters.append(_filter(provider, dict(options), f"filters[{index}]"))
    methods = []
    for name, (provider, options) in dict(settings.get("plugins") or {}).items():
        with problems.catch(f"plugins.{name}"):
            plugin_options = dict(options)
            override = plugin_options.pop("override", False)
            methods.append((_resolve(provider, f"plugins.{name}")(plugin_options), override))
    problems.check()
    assert sender is not None
    if clear_global:
        CLIENT_HOLDER.global_config.clear()
    CLIENT_HOLDER.global_config.update(settings.get("global") or {})
    timers = settings.get("disabled_timers") or []
    made = client or CompatClient()
    apply(
        made,
        logger=str(settings.get("logger") or ""),
        severity=settings.get("severity", 6),
        disabled_timers=[timers] if isinstance(timers, str) else list(timers),
        sender=sender,
        filters=filters,
    )
    for method, override in methods:
        made.add_method(method, override)
    return made


def apply(
    client: CompatClient,
    *,
    logger: str,
    severity: int,
    disabled_timers: list[str],
    sender: Component,
    filters: list[Component],
) -> None:
    """Puts checked parts in place, all at once."""
    made = plan({"logger": logger, "disabled_timers": disabled_timers, "sender": "null"})
    made.sender = sender
    made.filters = filters
    client.severity = severity
    client.logger = logger
    client.install(made)


def _sender(config: dict[str, Any]) -> Component:
    dotted = config.pop("class", None)
    if not dotted:
        raise ConfigError("sender_class: missing; for example metlog.senders.UdpSender")
    args = config.pop("args", ())
    name = dotted.rsplit(".", 1)[-1]
    if dotted.startswith("metlog.senders") and name == "ZmqHandshakePubSender":
        raise ConfigError(f"sender_class = {dotted!r}: {_HANDSHAKE}")
    if not dotted.startswith("metlog.senders") or name not in _SENDERS:
        return sender_component(_resolve(dotted, "sender_class")(*args, **config))
    options: dict[str, Any] = {}
    given = {**dict(zip(_POSITIONAL.get(name, ()), args, strict=False)), **config}
    known = _OPTIONS[name]
    problems = Problems()
    for key, value in given.items():
        if key not in known:
            problems.add(f"sender_{key} = {value!r}: {name} is now the sender {_SENDERS[name]!r}, which cannot do that")
            continue
        new = known[key]
        if new is not None:
            options[new] = value
    problems.check()
    if name == "UdpSender":
        _pair_ports(options)
    elif name == "ZmqPubSender":
        options.update(pattern="pub", bind=False)
    return check("sender", {"name": _SENDERS[name], **options}, "sender")


def _pair_ports(options: dict[str, Any]) -> None:
    """The original zipped hosts with ports, and repeated the last port."""
    ports = options.get("port")
    if isinstance(ports, (list, tuple)):
        if len(set(ports)) != 1:
            raise ConfigError(f"sender_port = {list(ports)}: one port for all hosts; for several use the sender tee")
        options["port"] = ports[0]


def _filter(provider: str, options: dict[str, Any], where: str) -> Component:
    name = provider.rsplit(".", 1)[-1]
    if not provider.startswith("metlog.filters") or name not in _FILTERS:
        return filter_component(_resolve(provider, where)(**options), where)
    if name == "type_severity_max_provider":
        types = options.get("types") or {}
        options = {"types": {kind: item["severity"] for kind, item in types.items()}}
    elif "types" in options and isinstance(options["types"], str):
        options["types"] = options["types"].split()
    return check("filter", {"name": _FILTERS[name], **options}, where)


def _resolve(dotted: str, where: str) -> Callable[..., Any]:
    module, _, rest = dotted.replace(":", ".").rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), rest)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where} = {dotted!r}: cannot be loaded: {error}") from error
    return found


# ---- objects written for the original --------------------------------------------------------------------------------


def to_message(event: Event) -> dict[str, Any]:
    """An event as the dict that the original's senders and filters know."""
    message: dict[str, Any] = msgspec.to_builtins(event)
    message["metlog_pid"] = message.pop("pid")
    message["metlog_hostname"] = message.pop("hostname")
    return message


class MessageSender:
    """A sender written for the original: `send_message(msg: dict)`. It runs behind the queue, so that it may block."""

    max_frame = 65536

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self._decode = JsonEncoder().decode

    def send(self, frame: bytes) -> None:
        """Hands on one message an event."""
        for event in self._decode(frame):
            self.inner.send_message(to_message(event))

    def flush(self) -> None:
        """The original had no flush."""

    def close(self) -> None:
        """Closes what can be closed."""
        close = getattr(self.inner, "close", None)
        if close is not None:
            close()


class MessageFilter:
    """A filter written for the original: a dict in, whether to keep it out; it may change the dict."""

    def __init__(self, inner: Callable[[dict[str, Any]], bool]) -> None:
        self._inner = inner

    def __call__(self, event: Event, /) -> Event | None:
        """Asks it with a copy, and takes over what it changed."""
        message = {**to_message(event), "fields": copy.deepcopy(event.fields)}
        if not self._inner(message):
            return None
        return replace(
            event,
            type=message["type"],
            logger=message["logger"],
            severity=message["severity"],
            payload=message["payload"],
            fields=message["fields"],
        )


def sender_component(sender: Any) -> Component:
    """A checked component for an object: one of this package's senders, one of the original's, or None."""
    if sender is None:
        return check("sender", "null", "sender")
    if hasattr(sender, "send_message"):
        sender = MessageSender(sender)
    elif not hasattr(sender, "send"):
        raise ConfigError(f"sender = {sender!r}: has neither send_message(msg) nor send(frame)")
    return Component("sender", type(sender).__name__, "sender", lambda: sender, {})


def filter_component(item: Callable[[dict[str, Any]], bool], where: str) -> Component:
    """A checked component for a filter function written for the original."""
    if not callable(item):
        raise ConfigError(f"{where} = {item!r}: a filter is a callable")
    return Component("filter", getattr(item, "__name__", "filter"), where, lambda: MessageFilter(item), {})
