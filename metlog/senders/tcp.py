"""TCP, with or without TLS: frames one after another in one stream."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING

from metlog.errors import SenderError
from metlog.plugins.conversion import Seconds, Size
from metlog.senders._connection import ConnectionSender
from metlog.senders._resolver import lookup
from metlog.senders.options import Address, host_list, numeric, port_number

if TYPE_CHECKING:
    import ssl

__all__ = ["TcpSender"]


class TcpSender(ConnectionSender):
    """Sends frames as they are: JSON frames end in a line feed, MessagePack delimits itself.

    host
        A name or IP address, or several: each attempt to connect goes through them in order, and through all addresses of a name;
        one that does not answer takes no more than its share of `timeout`.
    port
        1 to 65535.
    timeout
        Seconds that one frame may take, with all attempts to connect and to send it; then it is lost. Between attempts
        there are pauses of 0.1 s growing to 5 s, with jitter.
    tls
        Whether to use TLS (1.2 or later); the peer's certificate is always checked.
    ca_file
        PEM file of the authorities to trust; the system's when left out.
    cert_file, key_file
        PEM files of our own certificate and key, where the peer asks for one.
    server_name
        Name that the peer's certificate must hold; `host` when left out.
    max_frame
        Bytes.

    `send` raises `metlog.errors.SenderError` with the reason `refused`, `timeout`, `unresolved`,
    `unreachable`, `tls` or `closed`.
    """

    def __init__(
        self,
        *,
        host: str | list[str] = "127.0.0.1",
        port: int = 5565,
        timeout: Seconds = 10.0,
        tls: bool = False,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        server_name: str | None = None,
        max_frame: Size = 65536,
    ) -> None:
        self.hosts = host_list(host)
        port_number(port)
        self.port = port
        self.server_name = server_name
        self._tls: ssl.SSLContext | None = None
        if tls:
            self._tls = tls_context(ca_file, cert_file, key_file)
        else:
            given = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file, "server_name": server_name}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(f"{name} = {value!r}: means nothing without TLS; set tls = true")
        super().__init__(timeout=timeout, max_frame=max_frame)

    def probe(self) -> Iterator[str | SenderError]:
        """As for every connection, each host by itself: the others are alternatives to it."""
        hosts = self.hosts
        try:
            for host in hosts:
                self.hosts = [host]
                yield from super().probe()
        finally:
            self.hosts = hosts

    def _connect(self, end: float) -> None:
        error: OSError | None = None
        for index, host in enumerate(self.hosts):
            its_end = _share(end, len(self.hosts) - index)
            try:
                addresses = self._lookup(host, its_end)
            except OSError as failed:
                error = failed
                continue
            for number, address in enumerate(addresses):
                try:
                    self._connect_to(host, address, _share(its_end, len(addresses) - number))
                except OSError as failed:
                    error = failed
                    self._release()
                    if self._deadline.closed:
                        raise
                else:
                    return
        raise error or OSError(errno.EHOSTUNREACH, "no address")

    def _lookup(self, host: str, end: float) -> list[Address]:
        known = numeric(host, self.port, socket.SOCK_STREAM)
        return known or lookup(host, self.port, socket.SOCK_STREAM, self._deadline, end)

    def _connect_to(self, host: str, address: Address, end: float) -> None:
        family, target = address
        raw = self._hold(socket.socket(family, socket.SOCK_STREAM))
        raw.settimeout(max(0.001, end - monotonic()))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: the kernel ends a connection whose peer acknowledges nothing
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.timeout * 1000))
        raw.connect(target)
        if self._tls is not None:
            name = self.server_name or host
            wrapped = self._tls.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False)
            self._hold(wrapped)
            wrapped.settimeout(max(0.001, end - monotonic()))
            wrapped.do_handshake()

    def _peer(self) -> str:
        return f"{', '.join(self.hosts)} port {self.port}"


def _share(end: float, count: int) -> float:
    """When the first of so many tries must be over, for each to get as much of the time until `end`: one that nobody answers leaves the
    others theirs."""
    now = monotonic()
    return now + (end - now) / count


def tls_context(ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext:
    """A client's context; raises ValueError that names the option whose file cannot be used."""
    import ssl

    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(f"ca_file = {ca_file!r}: {error}; wants a PEM file of certificates") from error
    if key_file is not None and cert_file is None:
        raise ValueError(f"key_file = {key_file!r}: needs cert_file, the certificate that belongs to the key")
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file)
        except OSError as error:
            given = f"cert_file = {cert_file!r}, key_file = {key_file!r}"
            raise ValueError(f"{given}: {error}; want PEM files of a certificate and its key") from error
    return context
