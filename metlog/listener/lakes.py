"""Which lakes of a listener answer queries over its data folder, when there are several in different places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from metlog.journal.routing import Route
from metlog.lake.uris import place_of

__all__ = ["Lakes", "Written", "answering"]


class Written(NamedTuple):
    """One output `lake`."""

    id: str
    uri: str
    route: Route


class Lakes(NamedTuple):
    """No event goes to two of the lakes that answer."""

    answer: frozenset[str]
    """Ids of the lakes that answer: one, and beside one in the data folder a second one elsewhere."""
    uri: str
    """Where those of their files are that are not in the data folder; the empty text: there are none."""
    told: tuple[str, ...]
    """What the operator is told of the others."""


def answering(written: Sequence[Written], data: Path) -> Lakes:
    """The lake in the data folder answers, else the first one. Beside one in the data folder another one answers when no event can go
    to both. Raises ConfigError for a URI that is none."""
    home = place_of("", data)
    local = [lake for lake in written if place_of(lake.uri, data) == home][:1]
    others = [lake for lake in written if lake not in local]
    far = [lake for lake in others if not any(lake.route.meets(other.route) for other in local)][:1]
    chosen = [*local, *far]
    told = []
    for lake in others:
        if lake not in chosen:
            uri = lake.uri.partition("?")[0]
            same = [other.id for other in chosen if other.route.meets(lake.route)]
            why = (
                f"it may take events that the lake {same[0]!r} takes"
                if same
                else f"they read one lake elsewhere, {far[0].id!r}"
            )
            told.append(
                f"outputs.{lake.id}: queries over {data} do not read this lake, for {why}; ask it by --data {uri}"
            )
    return Lakes(frozenset(lake.id for lake in chosen), far[0].uri if far else "", tuple(told))
