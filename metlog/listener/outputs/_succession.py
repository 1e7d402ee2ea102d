"""A lake elsewhere that comes in the place of the one in the data folder, whose files queries over the folder go on reading."""

from __future__ import annotations

from typing import Final

from metlog.errors import ConfigError
from metlog.journal.cursor import Cursor, Position, is_running, lakes_but
from metlog.lake.attached import attached
from metlog.lake.days import day_folders
from metlog.listener.outputs.context import Context

__all__ = ["begin_behind", "holds_the_same"]

_TURN: Final = 0.2
"""Seconds between two looks at whether the lake before has written its last."""


def begin_behind(context: Context) -> None:
    """Keeps a cursor behind what the lake in the data folder has written, for a lake that has none of its own yet: else both would have the
    segments that the journal still keeps. Waits until that one, taken out by a reload, has written its last. Raises Stopped."""
    while context.cursor().at == Position() and (before := _before(context)) is not None:
        if is_running(context.cursors, before.output):
            context.report(error=f"waits for the lake {before.output!r}, whose place it takes, to write its last")
            context.pause(_TURN)
            continue
        cursor = context.cursor(lake=True)
        cursor.at, cursor.route = before.at, context.route
        context.keep(cursor)
        context.report(error="")
        return


def _before(context: Context) -> Cursor | None:
    """The lake in the data folder that took all that this one takes, and is configured no more."""
    if _read_elsewhere(context):
        return None
    found = [
        cursor
        for cursor in lakes_but(context.cursors, {context.output, *context.lakes})
        if cursor.at > Position() and cursor.route.covers(context.route)
    ]
    return max(found, key=lambda cursor: cursor.at, default=None)


def holds_the_same(context: Context) -> str:
    """What is told of a lake that has been a copy of the one in the data folder until now: if both answered, queries would count events
    twice. The empty text: it is none, or the files in the data folder have been moved away."""
    known = Cursor.load(context.cursors, context.output)
    if known is None or known.lake or known.at == Position() or _read_elsewhere(context):
        return ""
    others = lakes_but(context.cursors, {context.output})
    if not any(other.route.meets(known.route) for other in others) or not _has_files(context):
        return ""
    folder = context.data.path / "events"
    return (
        f"queries over {context.data.path} do not read it, since it has events that {folder} has too:"
        f" move {folder} away and restart the listener, or ask it by its own URI"
    )


def _read_elsewhere(context: Context) -> bool:
    """Whether queries over the data folder have been reading files elsewhere, or that cannot be told."""
    try:
        return bool(attached(context.data))
    except ConfigError:  # a damaged file, which is written anew
        return True


def _has_files(context: Context) -> bool:
    try:
        events = context.data.sub("events")
    except FileNotFoundError:
        return False
    with events:
        return any(True for _, folder in day_folders(events) for _ in folder.regular(".parquet"))
