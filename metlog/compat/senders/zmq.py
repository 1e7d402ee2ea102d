"""Over ZeroMQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from metlog.compat.senders._mapped import Mapped
from metlog.errors import ConfigError

__all__ = ["ZmqHandshakePubSender", "ZmqPubSender"]


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
