"""Which names of `fields` get columns: chosen by what a writer sees, or by configuration, and kept in the data set.

`promoted/00000001.json`, `…2.json`: each is the whole choice, and the last one counts. The next one is created, which storage allows once,
so that several writers agree without a lock, and one that is killed leaves the choice as it was. Names are added and never taken away by
themselves. Which columns a file has stands in its own footer, so that a file written by an older choice stays right.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from metlog.lake.promotion.columns import FileColumns, lines_of
from metlog.lake.storage import Storage

__all__ = ["MOST", "Choice", "Promotion"]

MOST: Final = 8
"""Names that are chosen without being asked for: each costs the writer a little with every event."""
_FOLDER: Final = "promoted"
_NAME: Final = re.compile(r"(\d{8})\.json")
_SAMPLE: Final = 512
"""Events of a file that are looked at; a file of fewer says too little."""
_SAMPLE_BYTES: Final = 2 << 20
"""Bytes of their fields, from the first on: decoded they may be twenty times as many."""
_FEWEST: Final = 64
"""Events that must be left of the sample."""
_LOOKS: Final = 16
"""Names of a file whose different values are counted: each takes the time of a column."""
_SHARE: Final = 0.05
"""Least share of the events that a type must have, that a name of it is chosen."""
_WITHIN: Final = 0.5
"""Least share of the events of such a type that have the name."""
_LONGEST: Final = 64
"""Mean length of texts from which on a column would double a large part of the file."""
_LOOKED_AT: Final = 32_768
"""Values among which different ones are counted."""
_UNIQUE: Final = 0.98
"""Share of different texts from which on a name is an id of the event: nobody groups by it, and its column does not compress."""
_PATIENCE: Final = 50
"""Files after which a name that was not taken is looked at again."""
_FRESH: Final = 60.0
"""Seconds for which what the data set says is taken as it was read."""
_ATTEMPTS: Final = 100

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode_lines


class Choice(Struct, frozen=True):
    """The content of a file in `promoted/`."""

    names: list[str] = []
    auto: bool = True
    """Whether writers add names."""


class Promotion:
    """What the writers of one data set share. For one thread.

    `promote`: True, chosen by what is seen; False, none; a list, these; None, as the data set says, which is what upkeep does.
    """

    def __init__(self, storage: Storage, promote: bool | Sequence[str] | None = None, *, encoded: bool = False) -> None:
        """`encoded`: as for `FileColumns`."""
        self._storage = storage
        self._encoded = encoded
        self._asked = promote
        self._known = Choice()
        self._number = 0
        self._read_at: float | None = None
        self._passed_over: dict[str, int] = {}
        """Names that were not taken, with the number of the file in which they were looked at."""
        self._files = 0

    def file(self, rows: pa.Table) -> FileColumns:
        """The columns of a new file. `rows`: its first row group. Raises OSError."""
        self._files += 1
        choice = self.choice()
        if choice.auto:
            found = self._seen(rows, choice)
            if found:
                choice = self._settle(found)
        return FileColumns(tuple(choice.names), self._encoded)

    def choice(self) -> Choice:
        """What holds now. Raises OSError."""
        now = time.monotonic()
        if self._read_at is None or now - self._read_at > _FRESH:
            self._read()
            self._read_at = now
            if self._asked is not None and not self._agrees(self._known):
                self._settle([])
        return self._known

    def _agrees(self, choice: Choice) -> bool:
        if isinstance(self._asked, bool) or self._asked is None:
            return choice.auto if self._asked else not choice.auto and not choice.names
        return not choice.auto and choice.names == list(self._asked)

    def _next(self, found: Sequence[str]) -> Choice:
        """What is to hold after what is known."""
        if self._asked is False:
            return Choice([], auto=False)
        if self._asked is None or self._asked is True:
            room = max(MOST - len(self._known.names), 0)
            new = [name for name in found if name not in self._known.names][:room]
            return Choice([*self._known.names, *new], auto=True)
        return Choice(list(self._asked), auto=False)

    def _settle(self, found: Sequence[str]) -> Choice:
        """Makes it the choice of the data set, with what others chose meanwhile."""
        for _ in range(_ATTEMPTS):
            wanted = self._next(found)
            if wanted == self._known and self._number:
                return wanted
            if self._asked is None and not self._known.auto:
                return self._known
            number = self._number + 1
            if self._storage.create(f"{_FOLDER}/{number:08d}.json", msgspec.json.encode(wanted) + b"\n"):
                if self._last() > number:  # others made this one and removed it again, since it was listed
                    self._storage.remove(f"{_FOLDER}/{number:08d}.json")
                    self._read()
                    continue
                self._known, self._number = wanted, number
                if number > 2:  # the one before is left for who has listed it and is about to read
                    self._storage.remove(f"{_FOLDER}/{number - 2:08d}.json")
                return wanted
            self._read()
        raise OSError(f"{self._storage.describe()}/{_FOLDER}: others wrote there first, {_ATTEMPTS} times in a row")

    def _last(self) -> int:
        numbers = [int(found[1]) for name in self._storage.names(_FOLDER) if (found := _NAME.fullmatch(name))]
        return max(numbers, default=0)

    def _read(self) -> None:
        for _ in range(_ATTEMPTS):
            last = self._last()
            if last == self._number:
                return
            path = f"{_FOLDER}/{last:08d}.json"
            try:
                self._known = msgspec.json.decode(self._storage.read(path), type=Choice)
            except FileNotFoundError:  # two more were made since it was listed
                continue
            except (
                msgspec.DecodeError
            ):  # damaged: the next choice takes its place, and files say for themselves what they have
                self._known = Choice()
            self._number = last
            return
        raise OSError(f"{self._storage.describe()}/{_FOLDER}: its files go faster than they can be read")

    def _seen(self, rows: pa.Table, choice: Choice) -> list[str]:
        """Names that are worth a column and have none, the most frequent first."""
        room = MOST - len(choice.names)
        if room <= 0 or rows.num_rows < _SAMPLE:
            return []
        oldest = self._files - _PATIENCE
        self._passed_over = {name: file for name, file in self._passed_over.items() if file > oldest}
        found: list[str] = []
        looks = 0
        for name, text in _candidates(rows):
            if name in choice.names or name in self._passed_over:
                continue
            looks += text
            if text and _unique(rows, name):
                self._passed_over[name] = self._files
            else:
                found.append(name)
            if len(found) >= room or looks >= _LOOKS:
                break
        return found


def _candidates(rows: pa.Table) -> list[tuple[str, bool]]:
    """Names that many events of one type have, with values of one kind; and whether these are texts."""
    # By chance, and not each n-th: events often come in turns. The same file gives the same sample.
    places = sorted(random.Random(rows.num_rows).sample(range(rows.num_rows), _SAMPLE))
    sample = _beginning(rows.select(["type", "fields"]).take(pa.array(places, pa.int64())))
    try:
        events = _decode(lines_of(sample["fields"].combine_chunks()))
    except (msgspec.DecodeError, ValueError, RecursionError):  # of another origin
        return []
    if len(events) != sample.num_rows or len(events) < _FEWEST:
        return []
    types = sample["type"].to_pylist()
    of_type = Counter(types)
    pairs = Counter((kind, name) for kind, fields in zip(types, events, strict=True) for name in fields)
    hot = {
        name
        for (kind, name), count in pairs.items()
        if of_type[kind] >= _SHARE * len(events) and count >= _WITHIN * of_type[kind]
    }
    total = Counter(name for fields in events for name in fields if name in hot)
    found = []
    for name, _ in sorted(total.items(), key=lambda item: (-item[1], item[0])):
        values = [fields[name] for fields in events if fields.get(name) is not None]
        kinds = set(map(type, values))
        text = kinds == {str}
        if text and sum(map(len, values)) > _LONGEST * len(values):
            continue
        if name and len(name) <= 200 and (text or kinds == {bool} or (kinds and kinds <= {int, float})):
            found.append((name, text))
    return found


def _beginning(sample: pa.Table) -> pa.Table:
    """As many of the rows as have fields of `_SAMPLE_BYTES`."""
    ends = pc.cumulative_sum(pc.binary_length(sample["fields"]).cast(pa.int64()).fill_null(0))
    return sample.slice(0, pc.sum(pc.less_equal(ends, _SAMPLE_BYTES)).as_py())


def _unique(rows: pa.Table, name: str) -> bool:
    """Whether nearly every event has another value."""
    columns = FileColumns((name,))
    made = columns.extend(rows.slice(0, _LOOKED_AT).select(["fields"]))
    if made.num_columns < 2:
        return True  # its values are of several kinds
    values = made.column(1).drop_null()
    return bool(pc.count_distinct(values).as_py() > _UNIQUE * max(len(values), 1))
