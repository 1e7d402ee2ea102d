"""A person's events removed: from the Parquet files, the journal's segments, the dead letters and files that outputs wrote."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from metlog.journal import failpoints
from metlog.journal.cursor import Cursor
from metlog.journal.folder import Folder, journals
from metlog.journal.recovery import recover
from metlog.journal.segment import ACTIVE, SEALED, SegmentName, encode_record, listing, scan
from metlog.journal.tails import origin_of
from metlog.lake.days import day_folders
from metlog.lake.leases import segment_alone
from metlog.lake.parquet import may_replace
from metlog.lake.query import Lake
from metlog.lake.replacing import replace
from metlog.lake.sql.errors import placed_in
from metlog.lake.sql.guard import QueryError, parse
from metlog.lake.upkeep.folders import PATIENCE, Progress, Upkeep, UpkeepError, days, hold, opened, write_hidden
from metlog.lake.upkeep.lines import remove_lines
from metlog.lake.upkeep.meeting import Matcher, letter_meets, line_meets
from metlog.lake.upkeep.reading import engine, matching, ordered, schema_of
from metlog.lake.writer import file_name, temporary_name

__all__ = ["Forgotten", "check_condition", "forget"]

_ROUNDS: Final = 5
"""How often all places are gone through: an event may pass from the journal into a Parquet file meanwhile."""
_SEALING: Final = 150.0
"""Seconds that a segment which a listener is writing gets to be sealed."""
_HEAD: Final = "SELECT count(*) AS n FROM events WHERE ("
_LITERAL: Final = re.compile(r"(->>?\s*)?'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
_LIVING: Final = "type <> 'metlog.forgotten'"
"""What takes the place of an event keeps its stream and its time, and may meet the condition as it did."""
_EMPTY: Final = b'{"type":"metlog.forgotten"}'
_SHORTEST: Final = b'{"type":"-"}'


class Forgotten(Struct):
    """How many events were removed, or would be, and from where."""

    parquet: int = 0
    journal: int = 0
    dead_letters: int = 0
    files: int = 0
    """Lines of the files that were named."""
    left: int = 0
    """Events that a query finds afterwards; 0, or the work is not done."""

    @property
    def total(self) -> int:
        return self.parquet + self.journal + self.dead_letters + self.files


def check_condition(where: str) -> None:
    """Raises QueryError when a condition is none over the columns of `events`, such as one that asks other tables."""
    with placed_in(where, _HEAD):
        parsed = parse(_question(where))
    if parsed.tables != {"events"} or parsed.parameters:
        raise QueryError("the condition asks more than the columns of `events`", "refused")


def _question(where: str) -> str:
    return f"{_HEAD}{where}\n)"  # parsed by the guard before it runs


def forget(
    data: Path,
    where: str,
    *,
    files: Sequence[Path] = (),
    level: int = 3,
    dry_run: bool = False,
    patience: float = PATIENCE,
    sealing: float = _SEALING,
    progress: Progress = lambda what, done, of: None,
) -> Forgotten:
    """Removes the events for which a condition over the columns of `events` is true. Returns how many there were, by place.

    Each Parquet file is replaced by one without them, or removed; a segment of the journal gets an event of the type `metlog.forgotten` in
    the place of each, with its stream, number and time, so that nothing is counted as lost; the condition does not look at such events.
    Dead letters that hold such an event, or any text that the condition compares with, are removed, and so are lines of `files` (NDJSON
    that an output `file` wrote and writes no more) that are such events, or none and hold such a text. Afterwards a query counts what is
    left, and `upkeep.ndjson` gets a line that says what was removed, with the condition but without the values in it.

    Raises QueryError for a condition that cannot be asked; `UpkeepError` when a segment is not sealed, or not let go of by the lake, in
    time, and for one of `files` that an output writes; `ReadersHold`, OSError.
    """
    check_condition(where)
    done = Forgotten()
    condition = f"({where}\n) AND {_LIVING}"
    with placed_in(where, _HEAD), Lake(data) as lake:
        lake.query(_question(where))  # what cannot be asked is told before anything is removed
    with opened(data) as upkeep, _held(files, dry_run) as held:
        for _ in range(1 if dry_run else _ROUNDS):
            progress("journal", 0, 0)
            done.journal += _journals(upkeep, condition, dry_run, sealing, patience)
            for day in days(upkeep):
                progress(str(day.day), done.parquet, 0)
                found = [
                    name for name in day.names if (count := _count(day.folder, name, condition)) and _add(done, count)
                ]
                if found and not dry_run:
                    _rewrite(upkeep, day.folder, found, condition, level, patience)
            with Lake(data) as lake:
                done.left = int(lake.query(f"{_question(where)} AND {_LIVING}").rows[0][0])
            if dry_run or not done.left:
                break
        with closing(Matcher(condition)) as matcher:
            wanted = partial(letter_meets, matcher=matcher, words=_words(where))
            done.dead_letters = _dead_letters(upkeep, wanted, dry_run)
            wanted = partial(line_meets, matcher=matcher, words=_words(where))
            done.files = sum(remove_lines(folder, name, wanted, nullcontext, dry_run) for folder, name in held)
        if not dry_run:
            facts = {name: getattr(done, name) for name in done.__struct_fields__}
            upkeep.record("forget", condition=_without_values(where), **facts)
    return done


def _add(done: Forgotten, count: int) -> bool:
    done.parquet += count
    return True


def _count(folder: Folder, name: str, condition: str) -> int:
    with engine(folder) as connection:
        return matching(connection, folder, name, condition)


def _rewrite(upkeep: Upkeep, folder: Folder, names: Sequence[str], condition: str, level: int, patience: float) -> None:
    replacements = []
    for name in names:
        with engine(folder) as connection:
            batches = ordered(connection, folder, [name], condition)
            schema = schema_of(folder, [name])
            replacements.append(write_hidden(folder, [name], batches, schema, level, upkeep.promotion)[0])
    replace(upkeep.events, folder, replacements, patience=patience)


def _without_values(where: str) -> str:
    """The condition with `?` for each value; names of fields, which stand behind an arrow, are left."""
    return _LITERAL.sub(lambda found: found[0] if found[1] else "?", where)


def _words(where: str) -> list[str]:
    """The texts that a condition compares with, and not the names of fields."""
    found = [m[0][1:-1].replace("''", "'") for m in _LITERAL.finditer(where) if not m[1] and m[0].startswith("'")]
    return [word for word in found if len(word) >= 3]


def _journals(upkeep: Upkeep, condition: str, dry_run: bool, sealing: float, patience: float) -> int:
    with closing(Matcher(condition)) as matcher:
        return sum(
            _journal(upkeep, journal, matcher, dry_run, sealing, patience) for _, journal in journals(upkeep.root)
        )


def _journal(upkeep: Upkeep, journal: Folder, matcher: Matcher, dry_run: bool, sealing: float, patience: float) -> int:
    sealed, active = listing(journal)
    if active and not dry_run:
        _wait_until_sealed(journal, active, sealing)
        sealed, active = listing(journal)
    total = 0
    for segment, suffix in [*((name, SEALED) for name in sealed), *((name, ACTIVE) for name in active if dry_run)]:
        try:
            found, content = _without(journal, segment, suffix, matcher)
            if found and not dry_run:
                _put(upkeep, journal, segment, content, patience)
        except FileNotFoundError:  # handed on to every output since it was listed
            continue
        total += found
    return total


def _put(upkeep: Upkeep, journal: Folder, segment: SegmentName, content: bytes, patience: float) -> None:
    """Puts a segment's new content in its place, while the lake has not got it in hand: what the lake has read before is committed by then,
    and found in its files."""
    file = f"{segment}{SEALED}"
    try:
        with segment_alone(journal, file, patience):
            if segment.number >= Cursor.of_lakes(journal)[-1].at.number:
                _remove_unfinished(upkeep.events, file_name(segment))
            failpoints.point("forget.segment")
            journal.replace(file, content)
    except TimeoutError as error:
        raise UpkeepError(f"{error}; see metlog status, then run this again") from None


def _remove_unfinished(events: Folder, name: str) -> None:
    """Removes what the lake wrote of a segment before it was interrupted. The lake writes it again, but not for a day that has no event of
    the segment any more."""
    for _, folder in day_folders(events):
        folder.unlink(temporary_name(name), missing_ok=True)
        if may_replace(folder, name):
            folder.unlink(name, missing_ok=True)


def _wait_until_sealed(journal: Folder, active: Sequence[SegmentName], seconds: float) -> None:
    """Waits for the segments that a listener writes now; those that one left which was killed are sealed, as its next start would."""
    deadline = time.monotonic() + seconds
    while set(active) & set(listing(journal)[1]):
        if _recovered(journal):
            return
        if time.monotonic() > deadline:
            raise UpkeepError(
                f"{journal.path}: {active[0]} is still being written; wait for journal.segment_age, then run this again"
            )
        time.sleep(0.1)


def _recovered(journal: Folder) -> bool:
    """Puts in order what a listener left that was killed; False while one runs."""
    lock = journal.open("lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        recover(journal)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _without(journal: Folder, segment: SegmentName, suffix: str, matcher: Matcher) -> tuple[int, bytes]:
    """Returns how many events of a segment meet the condition, and its content without them, with every offset as it was."""
    clock, records = scan(journal, segment, suffix)
    data = bytearray(records.data)
    found = 0
    for record in records:
        lines = record.lines.split(b"\n")
        hits = matcher.places(record, clock)
        if not hits:
            continue
        found += len(hits)
        for place in hits:
            lines[place] = _tombstone(lines[place], b"}" if record.tail else b"")
        # What events have in common stays as long as one of them does.
        tail = _empty_tail(record.tail) if len(hits) == record.count else record.tail
        source, key = record.source.encode(), record.key.encode()
        made = encode_record(record.received_at, record.count, source, key, b"\n".join(lines), tail)
        if len(made) != record.end - record.offset:
            raise UpkeepError(
                f"{journal.path}/{segment}: a record at {record.offset} cannot be written again in its place"
            )
        data[record.offset : record.end] = made
    return found, bytes(data)


def _tombstone(line: bytes, left_out: bytes) -> bytes:
    """An event of the same length that keeps the stream and the number of the one in its place. `left_out`: what the line ends in, once for
    all lines of its record."""
    event = msgspec.json.decode(line + left_out)
    kept = {"type": "metlog.forgotten", **{key: event[key] for key in ("timestamp", "stream", "seq") if key in event}}
    for text in (msgspec.json.encode(kept), _EMPTY, _SHORTEST):
        short = text.removesuffix(left_out)
        if len(short) <= len(line):
            return short.ljust(len(line))
    raise UpkeepError("an event is shorter than what takes its place")


def _empty_tail(tail: bytes) -> bytes:
    """A tail of the same length that keeps the stream."""
    origin = origin_of(tail)
    if origin is None:
        return tail
    kept = {"stream": origin.stream, "logger": "", "env_version": origin.env_version, "pid": 0, "hostname": ""}
    text = b"," + msgspec.json.encode(kept)[1:-1]
    return text.ljust(len(tail) - 1) + b"}" if len(text) < len(tail) else tail


@contextmanager
def _held(files: Sequence[Path], dry_run: bool) -> Iterator[list[tuple[Folder, str]]]:
    """The files that were named, each with its folder, kept from outputs `file`."""
    with ExitStack() as stack:
        found = []
        for path in files:
            folder = stack.enter_context(Folder.root(path.parent))
            found.append((folder, path.name))
            if dry_run:
                continue
            descriptor = folder.open(path.name, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            hold(
                descriptor, f"{path}: an output writes it now; stop its listener, or name the files that it has rotated"
            )
        yield found


def _dead_letters(upkeep: Upkeep, wanted: Callable[[bytes], bool], dry_run: bool) -> int:
    try:
        dead = upkeep.root.sub("dead")
    except FileNotFoundError:
        return 0
    with dead:
        # What a listener moves from a file to the one behind it meanwhile is looked at there.
        names = sorted((entry.name for entry in dead.regular(".ndjson")), key=lambda name: name.endswith(".1.ndjson"))
        return sum(remove_lines(dead, name, wanted, dead.locked, dry_run) for name in names)
