"""Several senders for every event, each with its own encoder, filters and buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metlog.errors import ConfigError, Problems
from metlog.plugins.conversion import shown

__all__ = ["TeeSender"]

_OF_A_BRANCH: Final = frozenset({"sender", "encoder", "filters", "buffer"})


class TeeSender:
    """Gives every event to several branches, each a pipeline with a stream of its own, so that no filter makes a false gap.

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
        from metlog.config import Plan, plan

        if not senders:
            raise ValueError("senders = []: wants at least one")
        problems = Problems()
        self.branches: list[Plan] = []
        for index, branch in enumerate(senders):
            where = f"senders[{index}]"
            settings = dict(branch) if isinstance(branch, Mapping) and "sender" in branch else {"sender": branch}
            for key in sorted(set(settings) - _OF_A_BRANCH):
                shows = shown(key, settings.pop(key))
                problems.add(f"{where}.{key} = {shows}: a branch has {', '.join(sorted(_OF_A_BRANCH))}; set it outside")
            with problems.catch(where):
                self.branches.append(plan(settings, where, expanded=True))
        if problems.lines:
            self.close()
        problems.check()

    def open(self) -> None:
        """Opens the branches' senders, or none of them; raises ConfigError."""
        try:
            for branch in self.branches:
                branch.open()
        except ConfigError:
            self.close()
            raise

    def send(self, frame: bytes) -> None:
        """Never called with a frame: each branch makes its own."""
        raise TypeError("tee: its branches make their own frames")

    def flush(self) -> None:
        """The branches are flushed by themselves."""

    def close(self) -> None:
        """Closes what was prepared and never became a pipeline; those close by themselves."""
        for branch in self.branches:
            branch.discard()
