"""Events of a partitioned log in the data set: each exactly once, whoever writes them, however often, and however they are cut.

The files of a partition and a day are a chain:

    events/date=2026-11-28/kafka-TOPIC-ID-PARTITION-00000000.parquet, …-00000001.parquet, …

Each file's footer (key `metlog.log`) says which offsets of the partition the chain holds up to and with this file. Who has events to
write reads the last footer, leaves out what is held already, and creates the next name, which the storage does only when it is not
there. When it is there somebody else was first: the footer is read again, and again only the rest is written. So two writers of
the same offsets (after a rebalance, after a kill, after the group was set back to the beginning) never both write them, and no lock
or coordinator is needed. The day of an event is a function of its message alone (`received_at` is the message's own time), so that every
writer finds it in the same chain.

The last file of a chain must stay under its name, with its footer, as long as the partition may be read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metlog.journal.offsets import Spans
from metlog.lake.storage import Storage

__all__ = ["FOOTER", "Chains", "chain_file", "held_of", "last_files", "outside", "parse_chain"]

FOOTER: Final = b"metlog.log"
_NAME: Final = re.compile(r"kafka-(.+-[0-9a-f]+-\d+)-(\d{8,})\.parquet")
_MOST: Final = 10_000
"""Chains whose last file is remembered."""
_ATTEMPTS: Final = 100


class Held(msgspec.Struct, frozen=True):
    """The footer's text, as JSON."""

    held: list[tuple[int, int]]
    """Ranges [begin, end) of offsets that the chain holds up to this file."""


class _Head(NamedTuple):
    """The last file of a chain."""

    part: int
    """Its number; -1 when there is none."""
    held: Spans


def chain_file(chain: str, part: int) -> str:
    """The name of a file of a chain."""
    return f"kafka-{chain}-{part:08d}.parquet"


def parse_chain(name: str) -> tuple[str, int] | None:
    """Chain and number of a file; None for a file of another origin."""
    found = _NAME.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def last_files(names: Iterable[str]) -> dict[str, str]:
    """Of the names in a day's folder: the last file of each chain. These are what upkeep must leave as they are."""
    last: dict[str, tuple[int, str]] = {}
    for name in names:
        found = parse_chain(name)
        if found is not None and found[1] > last.get(found[0], (-1, ""))[0]:
            last[found[0]] = (found[1], name)
    return {chain: name for chain, (_, name) in last.items()}


def held_of(file: object, where: str) -> Spans:
    """The offsets that a chain holds up to a file of it (a path, or a file open for reading). Raises OSError."""
    try:
        metadata = pq.read_metadata(file).metadata or {}
        return Spans(msgspec.json.decode(metadata[FOOTER], type=Held).held)
    except (pa.ArrowInvalid, KeyError, msgspec.DecodeError) as error:
        raise OSError(
            f"{where}: its footer does not say which offsets the data set holds ({FOOTER.decode()}); "
            "was it rewritten by another tool? put the original back"
        ) from error


class Chains:
    """Writes events of partitions into a data set. For one thread."""

    def __init__(self, storage: Storage, encode: Callable[[pa.Table], bytes | memoryview]) -> None:
        """`encode`: the Parquet file of a table, with the metadata of its schema in the footer."""
        self._storage = storage
        self._encode = encode
        self._known: dict[tuple[str, date], _Head] = {}
        self.repeated = 0
        """Events that were left out since the data set held them."""

    def write(self, chain: str, day: date, rows: pa.Table, offsets: pa.ChunkedArray, spans: Spans) -> int:
        """Writes the events of a day that the data set does not hold yet; gives how many. `spans`: the offsets that were seen to
        find these events, so that none between them is missing."""
        for _ in range(_ATTEMPTS):
            head = self._known.get((chain, day)) or self._find(chain, day)
            mask = outside(offsets, head.held)
            wanted = rows if mask is None else rows.filter(mask)
            if not wanted.num_rows:
                self._remember(chain, day, head)
                self.repeated += rows.num_rows
                return 0
            held = head.held.merge(spans)
            footer = msgspec.json.encode(Held(held.ranges))
            content = self._encode(wanted.replace_schema_metadata({FOOTER: footer}))
            part = head.part + 1
            if self._storage.create(f"events/date={day.isoformat()}/{chain_file(chain, part)}", content):
                self._remember(chain, day, _Head(part, held))
                self.repeated += rows.num_rows - wanted.num_rows
                return int(wanted.num_rows)
            self._known.pop((chain, day), None)  # somebody else was first: what did it write?
        raise OSError(f"{self._storage.describe()}: others wrote the chain {chain} first, {_ATTEMPTS} times in a row")

    def _find(self, chain: str, day: date) -> _Head:
        folder = f"events/date={day.isoformat()}"
        last = last_files(self._storage.names(folder, f"kafka-{chain}-")).get(chain)
        if last is None:
            return _Head(-1, Spans())
        found = parse_chain(last)
        assert found is not None
        path = f"{folder}/{last}"
        with self._storage.open(path) as file:
            return _Head(found[1], held_of(file, f"{self._storage.describe()}/{path}"))

    def _remember(self, chain: str, day: date, head: _Head) -> None:
        self._known.pop((chain, day), None)
        self._known[chain, day] = head
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]


def outside(offsets: pa.ChunkedArray, held: Spans) -> pa.ChunkedArray | None:
    """Which of the offsets are not held; None: all of them."""
    bounds = pc.min_max(offsets)
    inside = None
    for low, high in held.overlapping(bounds["min"].as_py(), bounds["max"].as_py() + 1):
        part = pc.and_(pc.greater_equal(offsets, low), pc.less(offsets, high))
        inside = part if inside is None else pc.or_(inside, part)
    return None if inside is None else pc.invert(inside)
