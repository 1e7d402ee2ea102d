"""Descriptors: a reserve for journal, outputs and queries beside the connections that clients may open."""

from __future__ import annotations

import resource
from typing import Final

__all__ = ["RESERVE", "provide"]

RESERVE: Final = 128
"""Descriptors that are not for connections."""
_ENOUGH: Final = 65_536


def provide(connections: int) -> str:
    """Raises the soft limit of the process as far as the hard one allows, and as needed; says what is missing, or nothing."""
    wanted = connections + RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ""
    most = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, max(_ENOUGH, wanted))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(wanted, soft), most), hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return ""
    return (
        f"inputs may have {connections} connections and the process {soft} descriptors, of which {RESERVE} are for the journal and the"
        f" outputs: lower max_connections, or raise LimitNOFILE to {wanted}"
    )
