"""Listening sockets of the stream inputs: bound here, or passed by systemd or another supervisor."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
from pathlib import Path

from metlog.core.hosts import host_port
from metlog.listener.inputs import _systemd as passed
from metlog.listener.inputs._handed import NONE, Handed

__all__ = ["bind_stream", "bind_unix", "server_tls", "unbound", "url_of"]


def bind_stream(
    scheme: str,
    host: str,
    port: int,
    systemd: bool | str,
    fd: int,
    handed: Handed,
    remedy: str,
) -> socket.socket:
    """Returns a listening TCP socket, one of `handed` where it fits; raises OSError with what to change, for an address in use the
    `remedy`."""
    name = passed.name_of(scheme, host, port, systemd, fd)
    ours = not systemd and fd < 0
    if (found := handed.take(name, socket.SOCK_STREAM, host if ours else "", port if ours else 0)) is not None:
        sock = found
    elif fd >= 0:
        sock = passed.of_descriptor(fd, socket.SOCK_STREAM)
    elif systemd:
        sock, *more = passed.sockets(socket.SOCK_STREAM, systemd if isinstance(systemd, str) else "")
        if more:
            raise OSError(
                f"{scheme}: systemd passed several ListenStream= sockets; name one by its FileDescriptorName="
            )
    else:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
                0
            ]
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
            except OSError:
                sock.close()
                raise
        except OSError as error:
            raise unbound(f"{scheme}://{host}:{port}", error, remedy) from error
    sock.listen(1024)
    return sock


def unbound(name: str, error: OSError, remedy: str) -> OSError:
    """Why an address could not be listened on, with what to change; `remedy` says how another port is chosen."""
    if isinstance(error, socket.gaierror) or error.errno in {errno.EADDRNOTAVAIL, errno.ENODEV}:  # ENODEV: libzmq's
        advice = "give an address of this machine, or 0.0.0.0 (IPv6: ::) for all of them"
    elif error.errno == errno.EADDRINUSE:
        advice = f"is another process listening there? {remedy}"
    elif error.errno == errno.EACCES:
        advice = f"ports below 1024 want root or CAP_NET_BIND_SERVICE; {remedy}"
    else:
        advice = remedy
    return OSError(f"{name}: {error.strerror or error}; {advice}")


def bind_unix(path: str, kind: socket.SocketKind, mode: int, handed: Handed = NONE) -> socket.socket:
    """Returns a Unix socket bound to a path, or to an abstract name when `path` begins with `@`; one of `handed` where it fits.

    A socket that an ended process left there is replaced; anything else, and a socket that answers, is left alone. Raises OSError
    that names the path.
    """
    if (found := handed.take(f"unix://{path}", kind)) is not None:
        if not path.startswith("@"):
            Path(path).chmod(mode)
        return found
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        if path.startswith("@"):
            sock.bind("\0" + path[1:])
        else:
            _remove_stale(path, kind)
            old = os.umask(0o777 & ~mode)
            try:
                sock.bind(path)
            finally:
                os.umask(old)
    except OSError as error:
        sock.close()
        raise OSError(f"unix://{path}: {error.strerror or error}; choose another path") from error
    if kind is socket.SOCK_STREAM:
        sock.listen(1024)
    return sock


def _remove_stale(path: str, kind: socket.SocketKind) -> None:
    """Removes a socket nobody listens on; raises OSError for a file of another kind and for a socket in use."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(0, "is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, kind) as trial:
        trial.setblocking(False)
        try:
            trial.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            Path(path).unlink(missing_ok=True)
        except BlockingIOError:  # its backlog is full: somebody listens
            raise OSError(0, "another process listens there") from None
        else:
            raise OSError(0, "another process listens there")


def url_of(scheme: str, sock: socket.socket) -> str:
    """Returns the address that an IP socket is bound to, as a URL."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://{host_port(host, port)}"


def server_tls(cert: str, key: str, client_ca: str) -> ssl.SSLContext | None:
    """Returns the TLS settings of a server, or None without a certificate; raises ValueError that names the file at fault."""
    if not cert:
        if key or client_ca:
            raise ValueError("cert_file: key_file and client_ca_file want it, a PEM file with the certificate")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ValueError(f"cert_file = {cert!r}: cannot be used: {error}") from error
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise ValueError(f"client_ca_file = {client_ca!r}: cannot be used: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
