"""The client's side of HTTP, for the sender and the output `http`: checks of options, compression, answers."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Any

import httpx

from metlog.senders.options import one_of, port_number, positive

__all__ = [
    "RequestDeadline", "TracedSocket", "beginning", "check_name", "check_options", "compressor", "proxy_of", "reason_of",
    "retry_after",
]  # fmt: skip


def check_options(*, timeout: float, compression: str, port: int | None, path: str, token: str | None) -> None:
    """Raises ValueError that names the option at fault."""
    positive("timeout", timeout, "seconds")
    one_of("compression", compression, ("gzip", "zstd", "none"))
    if port is not None:
        port_number(port)
    if not path.startswith("/"):
        raise ValueError(f"path = {path!r}: wants a path that begins with /, such as /submit/myservice")
    if token and not (token.isascii() and token.isprintable()):  # the value stays out: a secret
        raise ValueError("token: wants printable ASCII without line ends")


def check_name(url: httpx.URL) -> None:
    """Raises UnicodeError where the host can be no name: httpx (`host`) or the resolver (`idna`) would raise it at each request."""
    _ = url.host
    url.raw_host.decode("ascii").encode("idna")


def proxy_of(url: str) -> httpx.Proxy:
    """Returns the proxy; raises ValueError when the package for its scheme is missing.

    httpx imports that package with the first request, in the sender's thread.
    """
    proxy = httpx.Proxy(url)
    check_name(proxy.url)
    if proxy.url.scheme.startswith("socks"):
        try:
            import socksio  # type: ignore[import-not-found,unused-ignore] # noqa: F401
        except ImportError as error:
            raise ValueError("a SOCKS proxy needs the package socksio; pip install httpx[socks]") from error
    return proxy


def compressor(name: str) -> Callable[[bytes], bytes] | None:
    """Returns what compresses a body; None for `none`. Raises ValueError when the package for it is missing."""
    if name == "gzip":
        return lambda body: gzip.compress(body, compresslevel=5, mtime=0)
    if name == "zstd":
        try:
            import zstandard
        except ImportError as error:
            raise ValueError("compression = 'zstd': needs the package zstandard; pip install metlog[http]") from error
        return zstandard.ZstdCompressor().compress
    return None


def beginning(answer: httpx.Response, most: int, seconds: float = math.inf) -> bytes:
    """Returns the first `most` bytes, about, of an answer's body as they came: nothing in it is worth decompressing.

    Waits at most `seconds` from chunk to chunk. Half an answer is no error: its status has come, and that is what counts.
    """
    text = b""
    end = monotonic() + seconds
    try:
        for chunk in answer.iter_raw():
            text += chunk
            if len(text) > most or monotonic() > end:
                break
    except httpx.HTTPError:
        pass
    return text


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, section 10.2.3); None when it is neither."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def reason_of(error: httpx.HTTPError) -> str:
    """The reason under which a request that was not answered is counted."""
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    words = str(error)
    if isinstance(error, httpx.ConnectError) and "refused" in words:
        return "refused"
    if "CERTIFICATE" in words or "SSL" in words:
        return "tls"
    return "unresolved" if "resolution" in words or "not known" in words else "unreachable"


class RequestDeadline:
    """One deadline for a whole request, from connecting to the last byte of the answer: `interrupt` is called when it has come."""

    def __init__(self, seconds: float, interrupt: Callable[[], None]) -> None:
        self.over = False
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._ended = False
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.name, self._timer.daemon = "metlog-sender", True

    def _expire(self) -> None:
        with self._lock:  # the connection may be another request's by now
            if not self._ended:
                self.over = True
                self._interrupt()

    def __enter__(self) -> RequestDeadline:
        try:
            self._timer.start()
        except RuntimeError:  # the interpreter is ending: httpx's own timeouts are what there is
            pass
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._ended = True
        self._timer.cancel()


class TracedSocket:
    """The socket of a client's one connection, so that another thread can end whatever waits on it. `trace` is httpx's extension."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._handshake: socket.socket | None = None  # a copy, while TLS is agreed upon

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keeps the socket of a new connection."""
        step = event.partition(".")[2]
        if step in {"connect_tcp.complete", "start_tls.complete"}:
            self._socket = info["return_value"].get_extra_info("socket")
        elif step == "start_tls.started" and self._socket is not None:
            # The socket of TLS takes the descriptor over, and is known only when the handshake is over.
            self._handshake = self._socket.dup()
        if step in {"start_tls.complete", "start_tls.failed"}:
            self._end_handshake()

    def interrupt(self) -> None:
        """Ends what waits on the connection, if there is any."""
        current = self._handshake or self._socket
        if current is not None:
            with contextlib.suppress(OSError):  # it ended by itself
                socket.socket.shutdown(current, socket.SHUT_RDWR)

    def forget(self) -> socket.socket | None:
        """Lets go of the connection; returns its socket."""
        self._end_handshake()
        held, self._socket = self._socket, None
        return held

    def _end_handshake(self) -> None:
        held, self._handshake = self._handshake, None
        if held is not None:
            held.close()
