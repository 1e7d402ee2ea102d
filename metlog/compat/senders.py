"""The original's senders. Most are settings of one of this package's senders; the others take messages themselves."""

from __future__ import annotations

import importlib
import json
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TextIO

from metlog.compat.messages import Formatter, FormatterEncoder
from metlog.encoders import Encoder
from metlog.errors import ConfigError

__all__ = [
    "DebugCaptureSender", "FileSender", "Mapped", "NoSendSender", "StdLibLoggingSender", "StdOutSender", "StreamSender",
    "UdpSender", "ZmqHandshakePubSender", "ZmqPubSender", "resolve",
]  # fmt: skip

_LEVELS: Final = (
    logging.CRITICAL, logging.CRITICAL, logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.INFO,
    logging.DEBUG,
)  # fmt: skip


def resolve(dotted: str, where: str) -> Any:
    """What a dotted name (`package.module.attr`, `package.module:attr`) names; ConfigError under the key `where`."""
    if not isinstance(dotted, str):
        raise ConfigError(f"{where} = {dotted!r}: wants a dotted name such as package.module.name")
    used, *rest = dotted.replace(":", ".").split(".")
    try:
        found = importlib.import_module(used)
        for part in rest:
            used += f".{part}"
            if not hasattr(found, part):
                importlib.import_module(used)
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError(
            f"{where} = {dotted!r}: cannot be loaded: {type(error).__name__}: {error}; wants the dotted name of something "
            "that can be imported"
        ) from error
    return found


class Mapped:
    """A sender of the original's that is now one of this package's: `settings` say which."""

    def __init__(self, settings: dict[str, Any], encoder: Encoder | None = None) -> None:
        self.settings = settings
        self.encoder = encoder
        """In the place of `json`."""


def _formatted(formatter: Formatter | str | None) -> Encoder | None:
    if formatter is None:
        return None
    made = formatter if callable(formatter) else resolve(formatter, "sender_formatter")
    return FormatterEncoder(made)


class UdpSender(Mapped):
    """Sender `udp`; with several hosts a `tee` of one each, since the original sent every message to all of them.

    Ports are paired with the hosts; the last one serves the hosts that are left.
    """

    def __init__(self, host: str | Sequence[str], port: int | str | Sequence[int | str]) -> None:
        hosts = [host] if isinstance(host, str) else list(host)
        ports: list[int | str] = [port] if isinstance(port, int | str) else list(port)
        if not hosts or not ports:
            raise ConfigError(f"host = {host!r}, port = {port!r}: want at least one of each")
        ports += ports[-1:] * (len(hosts) - len(ports))
        each = [{"name": "udp", "host": name, "port": number} for name, number in zip(hosts, ports, strict=False)]
        super().__init__(each[0] if len(each) == 1 else {"name": "tee", "senders": each})


class ZmqPubSender(Mapped):
    """Sender `zmq`, pattern `pub`, connected; with several endpoints a `tee` of one each, and `debug_stderr` adds `stderr`.

    There is no pool of connections any more: `pool_size` and `livecheck` mean nothing.
    """

    def __init__(
        self, bindstrs: str | Sequence[str], pool_size: int = 10, queue_length: int = 1000, livecheck: int = 10,
        debug_stderr: bool = False,
    ) -> None:  # fmt: skip
        endpoints = [bindstrs] if isinstance(bindstrs, str) else list(bindstrs)
        if not endpoints:
            raise ConfigError(f"bindstrs = {bindstrs!r}: wants at least one endpoint, such as tcp://127.0.0.1:5566")
        common = {"name": "zmq", "pattern": "pub", "bind": False, "hwm": queue_length}
        each: list[Any] = [{**common, "endpoint": endpoint} for endpoint in endpoints]
        each += ["stderr"] if debug_stderr else []
        super().__init__(each[0] if len(each) == 1 else {"name": "tee", "senders": each})


class ZmqHandshakePubSender:
    """Cannot be mapped."""

    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConfigError(
            "ZmqHandshakePubSender has no counterpart: its handshake only told whether a subscriber was there; use "
            "ZmqPubSender, or this package's sender zmq with pattern push, which keeps frames until a listener is there"
        )


class StdOutSender(Mapped):
    """Sender `stdout`. Without a formatter: JSON, one event a line (the original indented it)."""

    def __init__(self, formatter: Formatter | str | None = None) -> None:
        super().__init__({"name": "stdout"}, _formatted(formatter))


class FileSender(Mapped):
    """Sender `file`. Without a formatter: JSON, one event a line (the original indented it)."""

    def __init__(self, filepath: str, formatter: Formatter | str | None = None) -> None:
        super().__init__({"name": "file", "path": str(filepath)}, _formatted(formatter))


class StreamSender:
    """Writes to an open stream what the formatter makes of a message: by default JSON, indented by four spaces."""

    def __init__(self, stream: TextIO, formatter: Formatter | str | None = None) -> None:
        self.stream = stream
        self.formatter: Formatter = self.default_formatter
        if formatter is not None:
            self.formatter = formatter if callable(formatter) else resolve(formatter, "formatter")

    def default_formatter(self, msg: dict[str, Any]) -> str:
        """The message as JSON."""
        return json.dumps(msg, indent=4)

    def send_message(self, msg: dict[str, Any]) -> None:
        """Writes one message."""
        self.stream.write(f"{self.formatter(msg)}\n")
        self.stream.flush()


class DebugCaptureSender:
    """Keeps the last 100 messages in `msgs`, as JSON; each is there when the call that logs returns. For tests."""

    nonblocking = True
    immediate = True

    def __init__(self, **attributes: Any) -> None:
        self.msgs: deque[str] = deque(maxlen=100)
        for name, value in attributes.items():
            setattr(self, name, value)

    def send_message(self, msg: dict[str, Any]) -> None:
        """Keeps one message."""
        self.msgs.append(json.dumps(msg))


class StdLibLoggingSender:
    """Hands messages to stdlib logging: by type the payload alone, the whole message as JSON, or nothing."""

    def __init__(
        self,
        logger_name: str | None = None,
        payload_types: str | Sequence[str] | None = None,
        json_types: str | Sequence[str] | None = None,
    ) -> None:
        self.logger = logging.getLogger(logger_name)
        self.payload_types = _types(payload_types, "oldstyle")
        self.json_types = _types(json_types, "*")

    def send_message(self, msg: dict[str, Any]) -> None:
        """Logs one message at the level of its severity."""
        if not self.payload_types.isdisjoint((msg["type"], "*")):
            text = msg["payload"]
        elif not self.json_types.isdisjoint((msg["type"], "*")):
            text = json.dumps(msg)
        else:
            return
        self.logger.log(_LEVELS[msg["severity"]], text)  # without arguments a % in it stays what it is


def _types(given: str | Sequence[str] | None, default: str) -> frozenset[str]:
    if given is None:
        return frozenset({default})
    return frozenset({given} if isinstance(given, str) else given)


class NoSendSender:
    """What a client has before it has a sender: with it, the client is not active."""

    def send_message(self, msg: dict[str, Any]) -> NoReturn:
        """Raises NotImplementedError."""
        raise NotImplementedError("this client has no sender; configure one")
