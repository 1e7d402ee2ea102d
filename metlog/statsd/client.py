"""`client.statsd`: the `statsd` package's own client, over a transport that never raises, never waits and reconnects.

The package's TCP and Unix clients raise in the caller, wait for a server that does not read, and never reconnect; its
UDP client asks the name server in its constructor. Its methods, formats and pipelines stay as they are: only where a
finished line of metrics goes is replaced, by metlog's own senders.
Format: https://github.com/statsd/statsd/blob/master/docs/metric_types.md
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import wraps
from types import FunctionType
from typing import Annotated, Any, Final, TypeVar

from msgspec import Meta, Struct
from statsd.client.base import PipelineBase, StatsClientBase
from statsd.client.stream import StreamPipeline, TCPStatsClient, UnixSocketStatsClient
from statsd.client.udp import Pipeline, StatsClient

from metlog.core.hosts import bare
from metlog.core.timeouts import deadline_in
from metlog.errors import ConfigError, Problems
from metlog.plugins import parse_spec
from metlog.plugins.schema import Port, Seconds, Size, checked
from metlog.senders.options import Address, numeric
from metlog.senders.tcp import TcpSender
from metlog.senders.udp import UdpSender
from metlog.senders.unix import UnixSender
from metlog.statsd.disabled import DisabledStatsd
from metlog.statsd.line import EXIT_TIMEOUT, MAX_BYTES, Line, StatsdStats

__all__ = [
    "DisabledStatsd",
    "Settings",
    "StatsdStats",
    "TcpStatsd",
    "UdpStatsd",
    "UnixStatsd",
    "check_settings",
    "make",
]

_TIMEOUT: Final = 5.0

C = TypeVar("C")


def _never_raising(cls: type[C]) -> type[C]:
    """Guards every method of the package that makes a metric: a value that cannot be sent is counted, not raised."""
    for name, method in [*vars(StatsClientBase).items(), ("send", getattr(cls, "send", None))]:
        if isinstance(method, FunctionType) and not name.startswith("_") and name not in {"close", "pipeline", "timer"}:
            setattr(cls, name, _guarded(method))
    return cls


def _guarded(method: FunctionType) -> Callable[..., Any]:
    @wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a metric is never the application's problem
            self._line.counts.failed(error)

    return guarded


@_never_raising
class _UdpPipeline(Pipeline):  # type: ignore[misc] # the package has no annotations
    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._line = client._line


@_never_raising
class _StreamPipeline(StreamPipeline):  # type: ignore[misc] # as above
    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self._line = client._line


class _Wrapped(StatsClientBase):  # type: ignore[misc] # as above
    """What the three have in common."""

    _pipeline: type[PipelineBase]
    _prefix: str | None
    _maxudpsize: int
    _end: bytes
    _line: Line

    def _send(self, data: str) -> None:
        self._line.put(data, self._end)

    def pair(self, counter: str, timer: str, ms: float, rate: float) -> None:
        """The two metrics of a request: what a pipeline makes of an `incr` and a `timing`, at a fraction of its cost.

        The caller has decided, for both together, whether they belong to the sample that `rate` states.
        """
        prefix = f"{self._prefix}." if self._prefix else ""
        at = f"|@{rate}" if rate < 1 else ""
        first, second = f"{prefix}{counter}:1|c{at}", f"{prefix}{timer}:{ms:.6f}|ms{at}"
        if len(first) + len(second) + 1 < self._maxudpsize:
            self._line.put(f"{first}\n{second}", self._end)
        else:
            self._line.put(first, self._end)
            self._line.put(second, self._end)

    def pipeline(self) -> Any:
        """Gathers metrics and sends them together, at `send()` or at the end of a `with` block."""
        return self._pipeline(self)

    def stats(self) -> StatsdStats:
        """What became of the metrics."""
        return self._line.stats()

    def flush(self, timeout: float | None = None) -> bool:
        """Sends what is queued; waits at most `timeout` seconds (None: 60). False: it was too short."""
        return self._line.flush(deadline_in(60.0 if timeout is None else timeout))

    def close(self) -> None:
        """Sends the rest within `exit_timeout` seconds; later calls are counted as dropped."""
        self._line.close(deadline_in(self._line.exit_timeout))


@_never_raising
class UdpStatsd(_Wrapped, StatsClient):  # type: ignore[misc] # as above
    """`statsd.StatsClient`: one datagram a metric or a pipeline of at most `maxudpsize` bytes.

    The name is looked up in a background thread, again every minute and after errors.
    """

    _pipeline = _UdpPipeline
    _end = b""

    def __init__(
        self, host: str = "localhost", port: int = 8125, prefix: str | None = None, maxudpsize: int = 512,
        ipv6: bool = False, *, exit_timeout: float = EXIT_TIMEOUT,
    ) -> None:  # fmt: skip
        self._prefix = prefix
        self._maxudpsize = maxudpsize
        sender = _Udp(host, port, _family(ipv6))
        self._line = Line(sender, exit_timeout=exit_timeout, held=sender.held)


class _Stream(_Wrapped):
    _pipeline = _StreamPipeline
    _maxudpsize = MAX_BYTES  # a stream has no such bound
    _end = b"\n"

    def connect(self) -> None:
        """Does nothing: the connection is made, and made again, by the thread that sends."""

    def reconnect(self) -> None:
        """Ends the connection; the next metric makes a new one. Does not wait."""
        self._line.sender.interrupt()  # type: ignore[attr-defined] # both stream senders are BlockingSenders


@_never_raising
class TcpStatsd(_Stream, TCPStatsClient):  # type: ignore[misc] # as above
    """`statsd.TCPStatsClient`, behind a queue of `max_bytes` and a thread that connects with growing pauses.

    timeout
        Seconds that one metric is tried, with all attempts to connect; None: 5.
    """

    def __init__(
        self, host: str = "localhost", port: int = 8125, prefix: str | None = None, timeout: float | None = None,
        ipv6: bool = False, *, max_bytes: int = MAX_BYTES, exit_timeout: float = EXIT_TIMEOUT,
    ) -> None:  # fmt: skip
        self._prefix = prefix
        sender = _Tcp(host, port, _family(ipv6), _TIMEOUT if timeout is None else timeout)
        self._line = Line(sender, max_bytes=max_bytes, exit_timeout=exit_timeout)


@_never_raising
class UnixStatsd(_Stream, UnixSocketStatsClient):  # type: ignore[misc] # as above
    """`statsd.UnixSocketStatsClient`, behind a queue of `max_bytes`; `timeout` as for `TcpStatsd`."""

    def __init__(
        self, socket_path: str, prefix: str | None = None, timeout: float | None = None, *,
        max_bytes: int = MAX_BYTES, exit_timeout: float = EXIT_TIMEOUT,
    ) -> None:  # fmt: skip
        self._prefix = prefix
        sender = UnixSender(path=socket_path, kind="stream", timeout=_TIMEOUT if timeout is None else timeout)
        self._line = Line(sender, max_bytes=max_bytes, exit_timeout=exit_timeout)


# ---- the package uses one address family; metlog's senders take either -------------------------------------------


def _family(ipv6: bool) -> socket.AddressFamily:
    return socket.AF_INET6 if ipv6 else socket.AF_INET


class _Udp(UdpSender):
    def __init__(self, host: str, port: int, family: socket.AddressFamily) -> None:
        self._family = family
        super().__init__(host=host, port=port)

    def _counter(self) -> Callable[[bytes], int]:
        return _metrics_in

    def held(self) -> int:
        """How many metrics wait for the server's name to be looked up."""
        return sum(map(_metrics_in, list(self._held)))


def _metrics_in(frame: bytes) -> int:
    return frame.count(b"\n") + 1


class _Tcp(TcpSender):
    def __init__(self, host: str, port: int, family: socket.AddressFamily, timeout: float) -> None:
        self._family = family
        super().__init__(host=host, port=port, timeout=timeout)

    def _lookup(self, host: str, end: float) -> list[Address]:
        found = [address for address in super()._lookup(host, end) if address[0] == self._family]
        if not found:
            kind = "IPv6" if self._family == socket.AF_INET6 else "IPv4"
            raise socket.gaierror(socket.EAI_NONAME, f"{host} has no {kind} address")
        return found


# ---- settings --------------------------------------------------------------------------------------------------------


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The setting `statsd`, checked. All but `transport` and `path` mean what they mean to the `statsd` package."""

    transport: str = "udp"
    """`udp`, `tcp` or `unix`; the scheme of a URL."""
    host: str = "localhost"
    port: Port = 8125
    path: str = ""
    """Of the Unix socket."""
    prefix: str = ""
    ipv6: bool = False
    maxudpsize: Annotated[Size, Meta(ge=64, le=65507)] = 512
    """Bytes that a pipeline's datagram may have."""
    timeout: Annotated[Seconds, Meta(ge=0.01, le=3600)] = _TIMEOUT
    """Time that one metric is tried over TCP or Unix."""
    max_bytes: Annotated[Size, Meta(ge=1024, le=1 << 30)] = MAX_BYTES
    """Metrics that wait for a connection; the oldest make room."""
    exit_timeout: Annotated[Seconds, Meta(ge=0, le=3600)] = EXIT_TIMEOUT
    """Time that closing may take."""


_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "host": ("udp", "tcp"),
    "port": ("udp", "tcp"),
    "ipv6": ("udp", "tcp"),
    "maxudpsize": ("udp",),
    "path": ("unix",),
    "timeout": ("tcp", "unix"),
    "max_bytes": ("tcp", "unix"),
}


def check_settings(settings: object, where: str = "statsd") -> Settings:
    """The setting `statsd` as `Settings`: a table, a URL such as udp://host:8125?prefix=app, or true for the defaults.

    Opens nothing. Raises ConfigError with every fault.
    """
    problems = Problems()
    table = {key: "" if value is None else value for key, value in _table(settings, where).items()}
    values = checked(Settings, table, where, problems)
    transport = values.get("transport", "udp")
    if transport not in {"udp", "tcp", "unix"}:
        problems.add(f"{where}.transport = {transport!r}: wants udp, tcp or unix")
    else:
        for key, transports in _ONLY.items():
            if key in values and transport not in transports:
                problems.add(f"{where}.{key}: means nothing over {transport}; leave it out, or use {transports[0]}")
        if transport == "unix" and not values.get("path"):
            problems.add(f"{where}.path: transport unix needs the path of the server's socket")
    if "host" in values and transport in {"udp", "tcp"}:
        _check_host(values["host"], _family(values.get("ipv6", False)), where, problems)
    problems.check()
    return Settings(**values)


def _table(settings: object, where: str) -> dict[str, Any]:
    if settings is True or (isinstance(settings, str) and settings.lower() in {"true", "yes", "on", "1"}):
        return {}
    if isinstance(settings, Mapping):
        table = dict(settings)
        # Of METLOG_STATSD beside METLOG_STATSD__PREFIX, or of a file below these.
        return {**_table(table.pop("name"), where), **table} if "name" in table else table
    if isinstance(settings, str) and ":" in settings:
        transport, options = parse_spec(settings, where)
        return {"transport": transport, **options}
    raise ConfigError(
        f"{where} = {settings!r}: wants false, true, a URL such as udp://localhost:8125?prefix=app, or a table "
        "with host, port, prefix"
    )


def _check_host(host: str, family: socket.AddressFamily, where: str, problems: Problems) -> None:
    if not host.strip() or "," in host:
        problems.add(f"{where}.host = {host!r}: wants one host name or IP address")
        return
    literals = numeric(bare(host), 1, socket.SOCK_DGRAM)
    if literals and all(address[0] != family for address in literals):
        wants = "leave ipv6 out" if family == socket.AF_INET6 else "set ipv6 = true"
        problems.add(f"{where}.host = {host!r}: of the other address family; {wants}")


def make(settings: object) -> Any:
    """The client that checked settings ask for (or what `check_settings` takes); False: one that does nothing."""
    if settings is False or settings is None:
        return DisabledStatsd()
    checked = settings if isinstance(settings, Settings) else check_settings(settings)
    prefix = checked.prefix or None
    last = {"exit_timeout": checked.exit_timeout}
    if checked.transport == "udp":
        return UdpStatsd(checked.host, checked.port, prefix, checked.maxudpsize, checked.ipv6, **last)
    last["max_bytes"] = checked.max_bytes
    if checked.transport == "tcp":
        return TcpStatsd(checked.host, checked.port, prefix, checked.timeout, checked.ipv6, **last)  # type: ignore[arg-type]
    return UnixStatsd(checked.path, prefix, checked.timeout, **last)  # type: ignore[arg-type]
