"""The original's senders. Most are settings of one of this package's senders; the others take messages themselves."""

from __future__ import annotations

from typing import Any, NoReturn

from metlog.compat.senders._mapped import Mapped, is_mapped, resolve
from metlog.compat.senders.dev import DebugCaptureSender, FileSender, StdOutSender, StreamSender
from metlog.compat.senders.logging import StdLibLoggingSender
from metlog.compat.senders.udp import UdpSender
from metlog.compat.senders.zmq import ZmqHandshakePubSender, ZmqPubSender

__all__ = [
    "DebugCaptureSender", "FileSender", "Mapped", "NoSendSender", "StdLibLoggingSender", "StdOutSender", "StreamSender",
    "UdpSender", "ZmqHandshakePubSender", "ZmqPubSender", "is_mapped", "resolve",
]  # fmt: skip


class NoSendSender:
    """What a client has before it has a sender: with it, the client is not active."""

    def send_message(self, msg: dict[str, Any]) -> NoReturn:
        """Raises NotImplementedError."""
        raise NotImplementedError("this client has no sender; configure one")
