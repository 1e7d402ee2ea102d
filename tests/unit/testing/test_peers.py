"""The peers that tests of senders use."""

from __future__ import annotations

import socket

from metlog.testing.peers import DatagramPeer, StreamPeer, silent_peer
from tests.helpers.descriptors import many_open
from tests.helpers.waiting import wait_for


def test_they_serve_in_a_process_with_many_descriptors() -> None:
    with many_open(), DatagramPeer() as datagrams, StreamPeer() as stream, silent_peer() as silent:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"frame", ("127.0.0.1", datagrams.port))
        for port in (stream.port, silent):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(b"line\n")
        wait_for(lambda: datagrams.frames == [b"frame"])
        wait_for(lambda: stream.data == b"line\n")
