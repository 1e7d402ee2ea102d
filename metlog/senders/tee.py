"""Several senders for every event, each with its own encoder, filters and buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metlog.senders import BaseSender

__all__ = ["TeeSender"]


class TeeSender(BaseSender):
    """Sends every event to several branches, each a pipeline with a stream of its own, so that no filter makes a false gap.

    A branch is a sender (name, URL or table), or a table with `sender` and, if wanted, `encoder`, `filters` and `buffer`:

    >>> import metlog
    >>> client = metlog.MetlogClient.from_config({"sender": {"name": "tee", "senders": [
    ...     "memory:",
    ...     {"sender": "memory:", "encoder": "msgpack", "filters": [{"name": "severity_max", "severity": 3}]},
    ... ]}})
    >>> client.log("disk", "full", severity=2)
    >>> client.log("disk", "fine")
    >>> client.flush()
    True
    >>> [branch.stats().sent for branch in client.branches]
    [2, 1]
    >>> client.close()
    """

    max_frame = 8192
    nonblocking = True
    fans_out = True

    def __init__(self, *, senders: list[Any]) -> None:
        if not senders:
            raise ValueError("senders = []: wants at least one")
        self.branch_settings = [
            dict(branch) if isinstance(branch, Mapping) and "sender" in branch else {"sender": branch}
            for branch in senders
        ]

    def send(self, frame: bytes) -> None:
        """Never called with a frame: each branch makes its own."""
        raise TypeError("tee: its branches make their own frames")
