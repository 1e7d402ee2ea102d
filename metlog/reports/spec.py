"""What a report declares: its parameters, its chart, and the words for an empty result."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Annotated, Any, Final, Literal, Protocol

from msgspec import Meta, Struct

from metlog.errors import ConfigError
from metlog.plugins.conversion import convert

__all__ = ["BUCKETS", "COMMON", "Chart", "Charted", "Empty", "Parameter"]

Kind = Literal["text", "integer", "number", "boolean", "choice", "bucket", "time", "zone"]

COMMON: Final = ("since", "until", "tz", "logger")
"""Parameters that every report has."""
BUCKETS: Final = ("auto", "minute", "hour", "day", "week", "month")
"""Choices of a parameter of the type `bucket`, unless it has some of its own."""


class Parameter(Struct, forbid_unknown_fields=True, kw_only=True):
    """One parameter. In the SQL it is `$name`; its value is bound, never written into the text."""

    type: Kind = "text"
    default: str | int | float | bool = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    latest: str = ""
    """For a time: another one that it is never after; where it is, it is taken for that one."""

    def convert(self, name: str, value: Any) -> Any:
        """Returns the value as the SQL gets it; raises ConfigError with name, value and remedy. Times are texts still."""
        text = str(value).strip()
        try:
            return convert(text, self._hint())
        except ValueError as error:
            raise ConfigError(f"{name} = {text!r}: {error}") from None

    def _hint(self) -> Any:
        if self.type in {"choice", "bucket"}:
            return Literal[self.choices or BUCKETS]
        kind = _TYPES.get(self.type, str)
        least, most = self.min, self.max
        if kind is int:
            # Whole bounds: `typing` takes Annotated[int, Meta(le=7.0)] for Annotated[int, Meta(le=7)], and returns whichever of
            # them was made first. msgspec can build no type with the first one.
            least = None if least is None else ceil(least)
            most = None if most is None else floor(most)
        if least is None and most is None:
            return kind
        return Annotated[kind, Meta(ge=least, le=most)]


_TYPES: Final[Mapping[str, type]] = {"integer": int, "number": float, "boolean": bool}


class Chart(Struct, forbid_unknown_fields=True, kw_only=True):
    """How the result is drawn: what kind of chart, and which columns it shows."""

    kind: Literal["bars", "lines", "ranked", "spread"]
    """`bars` and `lines` over time, `ranked` bars by name, `spread` from the first to the last of `y` by name."""
    x: str
    """Column of the time, or of the name."""
    step: Literal["", "minute", "hour", "day", "week", "month"] = ""
    """Of the time, when the report has no parameter `by` that says it."""
    y: tuple[str, ...]
    """Columns of the values, each a series of its own."""
    color: str = ""
    """Column that splits the one value column into series."""
    unit: str = ""
    """Of the values: `ms`, `bytes a {by}`, `requests a {by}`; `{by}` is the step, where there is one."""
    labels: dict[str, str] = {}  # msgspec copies it
    """Names of the series, by column."""
    colors: dict[str, str] = {}  # msgspec copies it
    """`good`, `bad`, `warn`, `plain`, `other` or a colour, by series."""
    missing: Literal["gap", "zero"] = "gap"
    """What a step without events is to a line: nothing known, or a 0 (counts)."""
    zero: str = ""
    """What a ranking says when all of its values are 0; given, bars over time say it too."""


class Empty(Struct, forbid_unknown_fields=True, kw_only=True):
    """What to say when there is nothing to report."""

    text: str = "There are no such events in this time."
    code: str = ""
    """The line (or lines) of an application that would bring some."""


class Charted(Protocol):
    """The part of a report that its charts need; `metlog.reports.Report` has it."""

    @property
    def title(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...

    @property
    def chart_spec(self) -> Chart | None: ...

    @property
    def empty(self) -> Empty: ...
