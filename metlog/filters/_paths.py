"""Paths of fields with wildcards: `password`, `*.token`, `**.secret`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Paths"]

_PARTS: Final = re.compile(r"\*|\?|\[!?[^\]]+\]")
_PLAIN: Final = re.compile(r"[^*?\[.]+")
_DOT: Final = r"\."
_END: Final = r"(?=\.|\Z)"
_BETWEEN: Final = r"(?:[^.]*+\.)*?"  # any number of names


class Paths:
    """Some paths as one expression over names joined by dots; one that is no path is noted in `wrong`.

    `match` finds what a path names and all that lies below it. So a field that is itself named with dots (`header.cookie`)
    is found as the nested one would be, which goes with the table that holds it. Names may come from outside: the time it
    takes grows with their length, and not faster, however many wildcards there are (see `_expression`).

    `names` are the paths when each is a plain name, which nothing inside another value can have; else None.
    """

    __slots__ = ("match", "names")

    def __init__(self, option: str, paths: list[str] | None, wrong: list[str]) -> None:
        expressions = []
        for path in paths or ():
            if "" in path.split("."):
                wrong.append(f"{option} = {path!r}: wants names joined by dots, as user.email or *.token")
                continue
            try:
                expressions.append(re.compile(_expression(path)).pattern)
            except re.error as error:
                wrong.append(f"{option} = {path!r}: what stands in brackets is no set of characters: {error}")
        # Without any path: an expression that never matches.
        self.match = re.compile("|".join(expressions) or r"(?!)").match
        plain = all(map(_PLAIN.fullmatch, paths or ()))
        self.names: frozenset[str] | None = frozenset(paths or ()) if plain else None


def _expression(path: str) -> str:
    """The beginnings of names joined by dots that a path names.

    The names between two `**` are taken where they first occur, once and for all (an atomic group): if what follows can be
    found behind a later place, then behind the first one too. So nothing is tried twice.
    """
    runs: list[list[str]] = [[]]
    for part in path.split("."):
        if part == "**":
            runs.append([])
        else:
            runs[-1].append(_segment(part))
    first, *later = [_DOT.join(run) for run in runs]
    made = first + _END if first else ""
    for run in filter(None, later):
        made += (_DOT if made else "") + f"(?>{_BETWEEN}{run}{_END})"
    return f"(?:{made})"


def _segment(part: str) -> str:
    """One name: what stands between two `*` is taken where it first occurs, as above."""
    pieces, at = [""], 0
    for found in _PARTS.finditer(part):
        pieces[-1] += re.escape(part[at : found.start()])
        sign = found[0]
        if sign == "*":
            pieces.append("")
        else:
            pieces[-1] += "[^.]" if sign == "?" else _set(sign[1:-1])
        at = found.end()
    pieces[-1] += re.escape(part[at:])
    first, *between = pieces
    if not between:
        return first
    last = between.pop()
    return first + "".join(rf"(?>[^.]*?{piece})" for piece in between if piece) + "[^.]*" + last


def _set(inner: str) -> str:
    without = inner[0] == "!"
    chars = re.sub(r"([\\\[^&|~])", r"\\\1", inner[without:])
    return f"[^.{chars}]" if without else f"[{chars}]"
