"""Paths of fields with wildcards: `password`, `*.token`, `**.secret`."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Paths"]

_PARTS: Final = re.compile(r"\*|\?|\[!?[^\]]+\]")
_PLAIN: Final = re.compile(r"[^*?\[.]+")


class Paths:
    """Some paths as one expression over names joined by dots; one that is no path is noted in `wrong`.

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
        self.match = re.compile("|".join(expressions) or r"(?!)", re.DOTALL).fullmatch
        plain = all(map(_PLAIN.fullmatch, paths or ()))
        self.names: frozenset[str] | None = frozenset(paths or ()) if plain else None


def _expression(path: str) -> str:
    parts = path.split(".")
    made = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            made = (made.removesuffix(r"\.") + r"(?:\..*)?" if number else ".*") if last else made + r"(?:.*\.)?"
        else:
            made += _segment(part) + ("" if last else r"\.")
    return f"(?:{made})"


def _segment(part: str) -> str:
    made, at = "", 0
    for found in _PARTS.finditer(part):
        made += re.escape(part[at : found.start()])
        sign = found[0]
        if sign[0] == "[":
            inner = sign[1:-1].replace("\\", r"\\")
            made += f"[^{inner[1:]}]" if inner[0] == "!" else f"[{inner}]"
        else:
            made += "[^.]*" if sign == "*" else "[^.]"
        at = found.end()
    return made + re.escape(part[at:])
