"""Converts option values to their annotated types; formats values for error messages with secrets masked."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

__all__ = [
    "FilePath",
    "Port",
    "Seconds",
    "Size",
    "Unit",
    "age",
    "convert",
    "nearest",
    "shown",
    "suggest",
]


class Unit(NamedTuple):
    """What a number counts, for error messages; texts such as `64KB` are taken for bytes, `5m` for seconds."""

    name: str


Size = Annotated[int, Unit("bytes"), msgspec.Meta(ge=0)]
"""Bytes: a whole number, or a text such as `64KB`, `8 MiB` (powers of 1,024). Limits: `Annotated[Size, Meta(ge=64)]`."""
Seconds = Annotated[float, Unit("seconds"), msgspec.Meta(ge=0)]
"""Seconds: a number, at most 1,000,000,000, or a text such as `250ms`, `30s`, `5m`, `12h`, `7d`."""
Port = Annotated[int, Unit("(a port)"), msgspec.Meta(ge=1, le=65535)]
"""A port that one can send to."""
FilePath = Path
"""A path; `~` is the user's home directory."""

_SECRET: Final = re.compile(r"(?:^|_|\.|\])(?:keys?|secret|token|password|passwd|pwd|credentials?)$", re.IGNORECASE)
_IN_URL: Final = re.compile(r"([?&](?:[^=&]*=)?)[^=&][^&]*")
"""Values in a URL. Any of them may be a secret: of a misspelt option nobody knows."""
_FRAGMENT: Final = re.compile(r"(?<=:)([^#]*#).+", re.DOTALL)
_USER: Final = re.compile(r"//(?!/).+@", re.DOTALL)
_LONGEST: Final = 200
_BOOLEANS: Final[Mapping[str, bool]] = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_WORDS: Final[Mapping[Any, str]] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list", dict: "a table",
    tuple: "a list", Path: "a path, as a text", type(None): "nothing", bytes: "bytes, as a text in base64",
    timedelta: 'a time, as 60 or "60s", "5m", "7d"', datetime: "a moment, as 2026-01-31T12:00:00Z", date: "a day, as 2026-01-31",
    time: "a time of day, as 12:30:00",
}  # fmt: skip
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", re.IGNORECASE)
MOST: Final = 2**63 - 1
"""The largest number that an option may be."""
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_BEYOND: Final = 2.0**64  # for what is larger still, which is too large in any case
_SECONDS_OF: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE: Final = re.compile(r"(\d{1,9})\s*([smhdwy])")
_AGE_SECONDS: Final[Mapping[str, float]] = {**_SECONDS_OF, "w": 604_800, "y": 31_536_000}
_OLDEST: Final = 1000 * _AGE_SECONDS["y"]
_SPELT: Final[Mapping[str, str]] = {
    "bytes": 'bytes, as 67108864 or "64MB"',
    "seconds": 'seconds, as 60 or "60s", "5m", "7d"',
}
MOST_SECONDS: Final = 1_000_000_000
"""Thirty years, which every call that waits can take."""
_MOST: Final[Mapping[str, int]] = {"bytes": MOST, "seconds": MOST_SECONDS}
_LISTS: Final = frozenset({list, tuple, set, frozenset})


def convert(value: Any, hint: Any) -> Any:
    """Returns the value in its annotated type; raises ValueError that states what would be right.

    Text becomes what is asked for: a number, a truth value (`yes` and `on` as well), a list of the parts between commas
    or line ends. `Unit` and `msgspec.Meta` inside `Annotated` are honoured: see `Size` and `Seconds`.
    """
    if hint is Any or hint is inspect.Parameter.empty or "Callable" in str(hint):
        return value
    kinds = _alternatives(hint)
    if len(kinds) == 2 and type(None) in kinds and value is not None:
        return convert(value, kinds[0] if kinds[1] is type(None) else kinds[1])
    if get_origin(hint) is Annotated:
        return _limited(value, *get_args(hint))
    if hint is Path:
        if isinstance(value, str | Path) and str(value):
            return Path(value).expanduser()
        raise ValueError(_wants(hint, value))
    if hint is timedelta and (seconds := _measured(value, "seconds")) is not None and abs(seconds) <= MOST_SECONDS:
        return timedelta(seconds=seconds)
    if isinstance(value, str):
        if bool in kinds and str not in kinds and value.strip().lower() in _BOOLEANS:
            return _BOOLEANS[value.strip().lower()]
        if any(get_origin(kind) in _LISTS for kind in kinds) and (str not in kinds or "\n" in value):
            value = [part.strip() for part in re.split(r"\n" if "\n" in value else ",", value) if part.strip()]
    try:
        found = msgspec.convert(value, hint, strict=False)
    except TypeError:  # an annotation that msgspec does not know: the factory checks for itself
        return value
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(_wants(hint, value) or str(error)) from error
    if isinstance(found, float) and not math.isfinite(found):
        raise ValueError("wants a finite number")
    if isinstance(found, int | float) and abs(found) > MOST:
        raise ValueError(f"wants a number up to {MOST}")
    return found


def age(value: object) -> float:
    """Returns the seconds that an age such as `90d` stands for; raises ValueError for anything else.

    A number without a unit is refused: what is older goes, and 90 would be a minute and a half.
    """
    match = _AGE.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = float(match[1]) * _AGE_SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= _OLDEST:
        raise ValueError("wants a number and s, m, h, d, w or y, as 90d, of at most 1000 years")
    return seconds


def _limited(value: Any, kind: Any, *notes: Any) -> Any:
    """A value of an `Annotated` type; its last `msgspec.Meta` that sets a limit decides."""
    unit = next((note.name for note in notes if isinstance(note, Unit)), "")
    if unit in _SPELT:
        number: Any = _measured(value, unit)
        if number is None:
            raise ValueError(f"wants {_SPELT[unit]}")
    else:
        number = convert(value, kind)
    limits = [note for note in notes if isinstance(note, msgspec.Meta)]

    def limit(name: str) -> Any:
        return next((found for note in reversed(limits) if (found := getattr(note, name)) is not None), None)

    low, above, high, below = limit("ge"), limit("gt"), limit("le"), limit("lt")
    if low is None and above is None and high is None and below is None:
        return number if unit or not limits else msgspec.convert(number, Annotated[(kind, *limits)])
    if above is not None and low is not None and low <= above:
        low = None
    if (
        (low is None or number >= low)
        and (above is None or number > above)
        and (high is None or number <= high)
        and (below is None or number < below)
    ):
        if unit in _MOST and number > _MOST[unit]:
            raise ValueError(f"wants at most {_MOST[unit]} {unit}")
        return number
    raise ValueError(f"wants {_range(low, above, high, below, unit)}")


def _measured(value: Any, unit: str) -> float | int | None:
    """A number of bytes or seconds; None for anything but a finite number, or a text that stands for one."""
    if isinstance(value, str):
        match = (_SIZE if unit == "bytes" else _DURATION).fullmatch(value.strip())
        if match is None:
            return None
        factor = 1024 ** " kmgt".index(match[2].lower() or " ") if unit == "bytes" else _SECONDS_OF[match[2] or "s"]
        number = min(float(match[1]) * factor, _BEYOND)
        return int(number) if unit == "bytes" else number
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        return None
    value = max(-_BEYOND, min(value, _BEYOND))
    if unit == "bytes":
        return int(value) if value == int(value) else None
    return float(value)


def _range(low: Any, above: Any, high: Any, below: Any, unit: str) -> str:
    units = f" {unit}" if unit else ""
    if above is not None:
        most = "" if high is None else f", up to {_digits(high)}"
        return f"more than {_digits(above)}{most}{units}"
    if below is not None:
        least = "" if low is None else f"{_digits(low)} or more, "
        return f"{least}less than {_digits(below)}{units}"
    if high is None:
        return f"{_digits(low)}{units} or more"
    return f"at most {_digits(high)}{units}" if low is None else f"{_digits(low)} to {_digits(high)}{units}"


def _digits(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is Union else (hint,)


def _wants(hint: Any, value: Any) -> str | None:
    """`wants a whole number`; None for an annotation that has no simple words."""
    if isinstance(value, Mapping) and any(map(_is_record, _alternatives(hint))):
        return None  # what is wrong lies in it
    words = [_word(kind) for kind in _alternatives(hint) if kind is not type(None)]
    if not words or None in words:
        return None
    got = "" if isinstance(value, str) else f", not {_got(value, _alternatives(hint))}"
    return f"wants {' or '.join(str(word) for word in words)}{got}"


def _got(value: Any, kinds: tuple[Any, ...]) -> str:
    """What the value is; of a list or a table, where one is wanted, what in it is wrong."""
    for kind in kinds:
        inner = get_args(kind)
        if get_origin(kind) is dict and inner and isinstance(value, Mapping):
            for name, item in value.items():
                if not isinstance(name, str):
                    return f"one with a name that is {_word_of(name)}"
                if not _fits(item, inner[1]):
                    return f"one with {_word_of(item)} under {name!r}"
        if get_origin(kind) in _LISTS and inner and isinstance(value, list | tuple | set | frozenset):
            for item in value:
                if not _fits(item, inner[0]):
                    return f"one with {_word_of(item)} in it"
    return _word_of(value)


def _fits(value: Any, hint: Any) -> bool:
    try:
        convert(value, hint)
    except ValueError:
        return False
    return True


def _word_of(value: Any) -> str:
    return _WORDS.get(type(value), type(value).__name__)


def _word(kind: Any) -> str | None:
    if kind in _WORDS:
        return _WORDS[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(str(member.value) for member in kind)}"
    if _is_record(kind):
        return "a table"
    if origin in _LISTS:
        part = None if inner[0] is Any else _word(inner[0])
        return "a list" + (f", each {part}" if part else "")
    if origin is dict:
        part = None if not inner or inner[1] is Any else _word(inner[1])
        return "a table" + (f", each value {part}" if part else "")
    return None


def _is_record(kind: Any) -> bool:
    """Whether a type is made from a table with set keys: a dataclass, a TypedDict, a Struct."""
    return any(hasattr(kind, name) for name in ("__dataclass_fields__", "__total__", "__struct_fields__"))


def nearest(word: str, names: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The name that was probably meant: similar to `word` by at least `cutoff` (0 to 1); None when there is none."""
    import difflib

    found = difflib.get_close_matches(word, sorted(names), n=1, cutoff=cutoff)
    return found[0] if found else None


def suggest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the list of what there is."""
    names = sorted(known)
    near = nearest(word, names)
    if near:
        return f"did you mean {near!r}?"
    return f"there is {', '.join(names)}" if names else "there is none"


def number(value: object) -> str:
    """The value of an unknown option as an error may show it: a text may be a secret, whose option is misspelt."""
    return f" = {value!r}" if isinstance(value, (bool, int, float)) else ""


def shown(key: str, value: object) -> str:
    """A value as an error may show it: what has the name of a secret is hidden, what is long is cut."""
    try:
        text = repr(_masked(key, value))
    except Exception:  # noqa: BLE001 - an integer of more digits than Python writes, or code of the application
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}… ({len(text)} characters)"


def _masked(key: str, value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _masked(str(name), item) for name, item in value.items()}
    if _SECRET.search(key) and not (isinstance(value, str) and value.startswith("${")):
        return "***"
    if isinstance(value, list | tuple):
        return [_masked("", item) for item in value]
    if isinstance(value, str):
        return _FRAGMENT.sub(r"\1***", _USER.sub("//***@", _IN_URL.sub(r"\1***", value)))
    return value
