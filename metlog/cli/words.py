"""What the Tab key offers: types, services and fields of the data folder for the shell, words of SQL for `metlog sql`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from metlog.cli.common import data_folder

__all__ = ["SqlWords", "columns_for_shell", "fields_for_shell"]

_SECONDS: Final = 3.0
"""Time that the shell waits for the data folder."""
_NAME: Final = re.compile(r"""(?:->>?\s*'?|fields\.)[\w.$-]*$""")
_WORD: Final = re.compile(r"[\w$.]*$")


def _lake(context: Any) -> Any:
    """The data folder of the command line that is being typed; None when there is none."""
    from metlog.lake.query import Lake

    folder = data_folder(context.params.get("data") if context is not None else None)
    return Lake(folder, timeout=_SECONDS) if folder.is_dir() else None


def columns_for_shell(column: str) -> Callable[[Any, str], list[str]]:
    """A completer with the values of a column of `events`."""

    def complete(ctx: Any, incomplete: str) -> list[str]:
        from metlog.lake.sql.vocabulary import values_of

        lake = _lake(ctx)
        if lake is None:
            return []
        with lake:
            return [value for value in values_of(lake, column) if value.startswith(incomplete)]

    # typer looks at the annotations, which must be classes here
    complete.__annotations__ = {"ctx": _context(), "incomplete": str}
    return complete


def _context() -> type:
    import typer

    return typer.Context


def fields_for_shell(context: Any) -> list[str]:
    """Names of the members of `fields`."""
    from metlog.lake.sql.vocabulary import fields

    lake = _lake(context)
    if lake is None:
        return []
    with lake:
        return [field.name for field in fields(lake)]


class SqlWords:
    """Candidates for a word of SQL: fields behind `->>'`, else columns, views, functions and keywords."""

    def __init__(self, fields: Iterable[str] = ()) -> None:
        from metlog.lake.sql.vocabulary import FUNCTIONS, KEYWORDS, VIEW_COLUMNS

        self.fields = sorted(fields)
        columns = {name for view in VIEW_COLUMNS.values() for name, _ in view}
        self._names = sorted({*columns, *VIEW_COLUMNS})
        self._functions = [f"{name}(" for name in FUNCTIONS]
        self._keywords = list(KEYWORDS)

    def candidates(self, before: str) -> list[str]:
        """What may stand in place of the last word of `before`, the text up to the cursor."""
        if _NAME.search(before):
            part = re.split(r"->>?\s*|fields\.", before)[-1]
            bare = part.removeprefix("'")
            return [
                f"'{name}'" if part.startswith("'") or "." not in part else name
                for name in self.fields
                if name.startswith(bare)
            ]
        found = _WORD.search(before)
        word = found.group() if found else ""
        if not word:
            return []
        names = [name for name in (*self._names, *self._functions) if name.startswith(word.lower())]
        return [*names, *(key for key in self._keywords if key.startswith(word.upper()))]
