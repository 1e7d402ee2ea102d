"""Many datagrams in one call: `recvmmsg`, which Linux has and Python's sockets have not.

A datagram of one event costs as much to receive as to check; half of that is the call, its buffer and the address as Python objects.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from functools import partial
from typing import Final

from metlog.listener.inputs._peers import PeerNames

__all__ = ["ManyDatagrams"]

_LARGEST: Final = 1 << 16
"""More than a datagram can carry: none is ever cut. What no datagram has filled is no memory."""
_ADDRESS: Final = 32
"""Bytes kept for an address; the longest, `sockaddr_in6`, has 28."""
_DO_NOT_WAIT: Final = 0x40  # MSG_DONTWAIT of Linux
_LENGTHS: Final = {socket.AF_INET: 8, socket.AF_INET6: 28}
"""Bytes of an address that say anything: of `sockaddr_in` the rest is filling."""


class _Piece(ctypes.Structure):
    """`struct iovec`."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint32), ("pieces", ctypes.c_void_p), ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t), ("flags", ctypes.c_int),
    )  # fmt: skip


class _Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class ManyDatagrams:
    """Receives from one UDP socket, without waiting. For one thread."""

    def __init__(self, sock: socket.socket, at_once: int) -> None:
        """`at_once`: datagrams of one call, at most. Raises OSError where there is no such call, or none for this family of addresses."""
        if sys.platform != "linux" or sock.family not in _LENGTHS:
            raise OSError("recvmmsg: not for this socket")
        try:
            self._call = ctypes.CDLL(None, use_errno=True).recvmmsg
        except AttributeError:
            raise OSError("recvmmsg: not in this C library") from None
        self._call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
        self._call.restype = ctypes.c_int
        self._most = at_once
        self._descriptor = sock.fileno()
        self._names = PeerNames(partial(_host_and_port, sock.family))
        self._data = (ctypes.c_char * (_LARGEST * at_once))()
        self._addresses = (ctypes.c_char * (_ADDRESS * at_once))()
        data, addresses = ctypes.addressof(self._data), ctypes.addressof(self._addresses)
        self._pieces = (_Piece * at_once)(*[_Piece(data + number * _LARGEST, _LARGEST) for number in range(at_once)])
        pieces = ctypes.addressof(self._pieces)
        self._messages = (_Message * at_once)(
            *[
                _Message(_Header(addresses + number * _ADDRESS, _ADDRESS, pieces + number * ctypes.sizeof(_Piece), 1))
                for number in range(at_once)
            ]
        )
        self._at = ctypes.addressof(self._messages)
        words = memoryview(self._messages).cast("B").cast("I")
        self._sizes = words[_Message.length.offset // 4 :: ctypes.sizeof(_Message) // 4]
        self._view = memoryview(self._data).cast("B")
        length = _LENGTHS[sock.family]
        self._starts = range(0, _LARGEST * at_once, _LARGEST)
        self._places = [slice(start, start + length) for start in range(0, _ADDRESS * at_once, _ADDRESS)]

    def receive(self) -> list[tuple[bytes, str]]:
        """Up to `at_once` datagrams, each with its sender as `udp://HOST:PORT`; fewer where no more are there now. Raises OSError."""
        count = self._call(self._descriptor, self._at, self._most, _DO_NOT_WAIT, None)
        if count < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        view, names, addresses = self._view, self._names, self._addresses.raw
        return [
            (bytes(view[start : start + size]), names[addresses[place]])
            for start, size, place in zip(self._starts, self._sizes[:count].tolist(), self._places, strict=False)
        ]


def _host_and_port(family: int, address: bytes) -> tuple[str, int]:
    """Of the beginning of a `sockaddr_in` or `sockaddr_in6`."""
    host = socket.inet_ntop(family, address[4:8] if family == socket.AF_INET else address[8:24])
    (port,) = struct.unpack_from("!H", address, 2)
    return host, port
