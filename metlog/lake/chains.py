"""Events of a partitioned log in the data set: each exactly once, with any number of writers, repeats and cuts.

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
from metlog.lake.parquet import GrowingParquet, Parquet
from metlog.lake.storage import Storage

__all__ = ["FOOTER", "ChainFile", "Chains", "chain_file", "held_of", "last_files", "outside", "parse_chain"]

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

    def __init__(self, storage: Storage, how: Parquet | None = None) -> None:
        self._storage = storage
        self._parquet = how or Parquet()
        self._known: dict[tuple[str, date], _Head] = {}
        self.repeated = 0
        """Events that were left out since the data set held them."""

    def write(self, chain: str, day: date, rows: pa.Table, spans: Spans) -> int:
        """Writes the events of a day that the data set does not hold yet; gives how many. `spans`: the offsets that were seen to
        find these events, so that none between them is missing."""
        file = self.file(chain, day, lambda: spans)
        file.write(rows)
        return file.finish()

    def file(self, chain: str, day: date, spans: Callable[[], Spans]) -> ChainFile:
        """A file that grows. `spans` is asked when it is finished."""
        return ChainFile(self, chain, day, spans)

    def head(self, chain: str, day: date) -> _Head:
        """The end of a chain, as far as is known here. Raises OSError."""
        known = self._known.get((chain, day))
        if known is None:
            known = self._find(chain, day)
            self._remember(chain, day, known)
        return known

    def forget(self, chain: str, day: date) -> None:
        """What is known of a chain is no longer so."""
        self._known.pop((chain, day), None)

    def create(self, chain: str, day: date, part: int, content: bytes, held: Spans) -> bool:
        """Makes the next file of a chain; False when somebody else did. Raises OSError."""
        if not self._storage.create(f"events/date={day.isoformat()}/{chain_file(chain, part)}", content):
            return False
        self._remember(chain, day, _Head(part, held))
        return True

    def grow(self) -> GrowingParquet:
        """An empty Parquet file in memory."""
        return self._parquet.grow()

    def describe(self) -> str:
        return self._storage.describe()

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


class ChainFile:
    """The next file of a chain, in memory, compressed, until it is finished."""

    def __init__(self, chains: Chains, chain: str, day: date, spans: Callable[[], Spans]) -> None:
        self._chains = chains
        self._chain, self._day, self._spans = chain, day, spans
        self._head = chains.head(chain, day)
        self._file = chains.grow()
        self._offsets: list[pa.Array] = []
        """Of each row group: what another writer may turn out to hold."""
        self._left_out = 0

    def write(self, rows: pa.Table) -> None:
        """Adds events (with the column `log_offset`), without those that the chain holds."""
        mask = outside(rows["log_offset"], self._head.held)
        wanted = rows if mask is None else rows.filter(mask)
        self._left_out += rows.num_rows - wanted.num_rows
        if wanted.num_rows:
            self._file.write(wanted)
            self._offsets.append(wanted["log_offset"].combine_chunks())

    def finish(self) -> int:
        """Publishes what is new, durably; gives the number of events. Raises OSError."""
        for _ in range(_ATTEMPTS):
            if not self._offsets:
                break
            held = self._head.held.merge(self._spans())
            content = self._file.close({FOOTER: msgspec.json.encode(Held(held.ranges))})
            if self._chains.create(self._chain, self._day, self._head.part + 1, content, held):
                break
            self._again(content)  # somebody else was first: what did it write?
        else:
            where = self._chains.describe()
            raise OSError(f"{where}: others wrote the chain {self._chain} first, {_ATTEMPTS} times in a row")
        self._chains.repeated += self._left_out
        return sum(len(offsets) for offsets in self._offsets)

    def abandon(self) -> None:
        """Lets go of it; nothing was published."""

    def _again(self, content: bytes) -> None:
        """Makes the file anew, without what the chain holds by now."""
        self._chains.forget(self._chain, self._day)
        self._head = self._chains.head(self._chain, self._day)
        known, self._offsets = self._offsets, []
        self._file = self._chains.grow()
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            for number, offsets in enumerate(known):
                self.write(file.read_row_group(number).append_column("log_offset", offsets))


def outside(offsets: pa.ChunkedArray, held: Spans) -> pa.ChunkedArray | None:
    """Which of the offsets are not held; None: all of them."""
    bounds = pc.min_max(offsets)
    inside = None
    for low, high in held.overlapping(bounds["min"].as_py(), bounds["max"].as_py() + 1):
        part = pc.and_(pc.greater_equal(offsets, low), pc.less(offsets, high))
        inside = part if inside is None else pc.or_(inside, part)
    return None if inside is None else pc.invert(inside)
