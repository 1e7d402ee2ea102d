"""What the integrations share: which client is meant, severities, and what must not be logged again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from threading import get_ident
from typing import Any, Final

from metlog.client import MetlogClient, get_client, state_of
from metlog.errors import ConfigError

__all__ = ["OWN_THREADS", "Names", "client_of", "is_own", "is_own_logger", "sends_here", "severity_of"]

OWN_THREADS: Final = frozenset({"metlog-flusher", "metlog-sender", "metlog-signal", "metlog-resolver", "metlog-lookup"})
"""Names of the threads in which metlog sends: what libraries log there is about sending, and would never end."""


def client_of(client: MetlogClient | str | None) -> MetlogClient:
    """The client itself, the one of that name (`metlog.get_client`), or the default one."""
    if client is None or isinstance(client, str):
        return get_client(client or "")
    if not isinstance(client, MetlogClient):
        raise ConfigError(f"client = {client!r}: wants a MetlogClient, the name of one, or None for the default")
    return client


class Names:
    """Names given one by one; `*` at the end of one stands for anything. Raises ConfigError, with the option's name, for a text."""

    __slots__ = ("_beginnings", "_whole")

    def __init__(self, option: str, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise ConfigError(f"{option} = {names!r}: wants a list; write [{names!r}]")
        self._whole = frozenset(name for name in names if not name.endswith("*"))
        self._beginnings = tuple(name[:-1] for name in names if name.endswith("*"))

    def __contains__(self, name: str) -> bool:
        return name in self._whole or name.startswith(self._beginnings)


def severity_of(level: int) -> int:
    """The severity (RFC 5424) of a level of stdlib logging; levels between two named ones count as the lower."""
    if level < logging.INFO:
        return 7
    if level < logging.WARNING:
        return 6 if level < logging.INFO + 5 else 5
    if level < logging.ERROR:
        return 4
    return 3 if level < logging.CRITICAL else 2


def is_own_logger(name: str) -> bool:
    """Whether it is `metlog` or below that."""
    return name[:6] == "metlog" and name[6:7] in {"", "."}


def is_own(client: MetlogClient, logger: str | None, thread: str | None) -> bool:
    """Whether a record is about metlog's own sending: logging it would make the next one, without an end."""
    if logger is not None and is_own_logger(logger):
        return True
    if (thread if thread is not None else threading.current_thread().name) in OWN_THREADS:
        return True
    return sends_here(state_of(client).pipeline)


def sends_here(pipeline: Any) -> bool:
    """Whether this thread is sending a frame: a sender that does not wait is called by the thread that fills one."""
    if pipeline.sender is None:  # not configured
        return False
    ident = get_ident()
    if pipeline.buffer.owner == ident:
        return True
    return bool(pipeline.branches) and any(branch.buffer.owner == ident for branch in pipeline.branches)
