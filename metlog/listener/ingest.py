"""The sink that inputs write to: frames are validated, what is good goes to the journal, what is bad to the dead letters."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from metlog.event import Event
from metlog.journal.errors import Full
from metlog.journal.idempotency import IdempotencyKeys
from metlog.journal.writer import Journal
from metlog.listener.accounting import Accounting
from metlog.listener.deadletters import DeadLetters
from metlog.listener.ordered import Messages, encode
from metlog.listener.validate import Validated, validate_events, validate_frames

__all__ = ["Ingest"]

_CHUNK: Final = 96 << 10
"""Bytes that are validated at once and become one record: what is decoded of them stays in the processor's cache; pieces of
2 MB take twice as long by the event."""


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Ingest:
    """Implements `metlog.listener.inputs.Sink` over a journal."""

    def __init__(self, journal: Journal, dead: DeadLetters, keys: IdempotencyKeys, accounting: Accounting) -> None:
        self._journal = journal
        self._dead = dead
        self._keys = keys
        self._accounting = accounting
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._letters_failed = False
        """Whether the last dead letters of messages could not be made durable."""

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        self.frames([(data, source)], received_at)

    def frames(self, batch: Sequence[tuple[bytes | Validated, str]], received_at: int | None = None) -> None:
        moment = now() if received_at is None else received_at
        by_source: dict[str, list[bytes]] = {}
        checked: list[tuple[Validated, str]] = []
        for data, source in batch:
            if isinstance(data, bytes):
                if source in by_source:
                    by_source[source].append(data)
                else:
                    by_source[source] = [data]
            elif isinstance(data, Validated):
                checked.append((data, source))
            elif isinstance(data, bytearray | memoryview):
                by_source.setdefault(source, []).append(bytes(data))
            else:
                raise TypeError(f"a frame is bytes, not a value of type {type(data).__name__} (from {source})")
        checked += [
            (validate_frames(chunk), source) for source, frames in by_source.items() for chunk in _chunks(frames)
        ]
        records: list[bytes] = []
        for validated, source in checked:
            if validated.count:
                records += validated.parts(moment, source)
        letters = [(item.data, source, item.reason) for validated, source in checked for item in validated.invalid]
        outcome = "journaled"
        if records:
            try:
                lsn = self._journal.append(b"".join(records))
            except Full:
                outcome = "dropped_full"
            else:
                outcome = self._confirmed(lsn)
                for validated, _ in checked:  # what was dropped shows as a gap when the next events come
                    self._accounting.take(validated.runs)
        if letters:
            self._dead.add(letters)
        with self._lock:
            self._counts["frames"] += len(batch)
            self._counts["dead"] += len(letters)
            self._counts[outcome] += sum(validated.count for validated, _ in checked)

    def _confirmed(self, lsn: int) -> str:
        """What appended events count as: `unconfirmed` when the disk did not say in time that it has them."""
        try:
            self._journal.confirm(lsn)
        except Full:
            return "unconfirmed"
        return "journaled"

    def opened(self, body: bytes, source: str, key: str = "") -> bytes:
        """Returns the body: what is signed is opened by `metlog.listener.signed.SignedSink` before."""
        return body

    def submit(
        self, events: Sequence[Event] | Validated, source: str, *, key: str = "", received_at: int | None = None
    ) -> bool:
        validated = events if isinstance(events, Validated) else validate_events(events)
        if not validated.count:
            return True
        moment = now() if received_at is None else received_at
        record = validated.record(moment, source, key)
        try:
            lsn, new = self._append_once(record, key) if key else (self._journal.append(record), True)
            self._journal.wait(lsn)
        except Full:
            with self._lock:
                self._counts["refused_full"] += validated.count
            raise
        if new:
            self._accounting.take(validated.runs)
        with self._lock:
            self._counts["frames"] += 1
            self._counts["journaled" if new else "repeated"] += validated.count
        return new

    def _append_once(self, record: bytes, key: str) -> tuple[int, bool]:
        """Where the record of a key stands, and whether it was appended now. What was appended stays known also when
        the disk does not confirm it in time: it may yet be there, and a repeat must not add another."""
        known = self._keys.claim(key)
        if known is not None:
            return known, False
        lsn = None
        try:
            lsn = self._journal.append(record)
        finally:
            self._keys.settle(key, lsn)
        return lsn, True

    def messages(self, batch: Sequence[Messages]) -> int:
        made = encode(batch)
        letters = made.letters
        if letters and self._letters_failed:  # first, or each try of them would journal the events anew
            self._bury(letters)
            letters = []
        lsn = 0
        if made.records:
            try:
                lsn = self._journal.append(b"".join(made.records))
            except Full:
                with self._lock:
                    self._counts["refused_full"] += made.events
                raise
            for runs in made.runs:
                self._accounting.take(runs)
        if letters:
            self._bury(letters)
        with self._lock:
            self._counts["frames"] += sum(len(messages.frames) for messages in batch)
            self._counts["dead"] += len(made.letters)
            self._counts["journaled"] += made.events
        return lsn

    def _bury(self, letters: Sequence[tuple[bytes, str, str]]) -> None:
        """Makes dead letters durable. Raises OSError."""
        self._letters_failed = True
        self._dead.add(letters, durable=True)
        self._letters_failed = False

    def wait(self, lsn: int) -> None:
        self._journal.wait(lsn)

    def reject(self, data: bytes, source: str, reason: str) -> None:
        self._dead.add([(data, source, reason)])
        with self._lock:
            self._counts["dead"] += 1

    def stats(self) -> dict[str, int]:
        """`frames` taken; events `journaled`, `repeated` (of keys that were journaled before), `dropped_full` (frames
        when the journal was full), `refused_full` (submitted), `unconfirmed` (written, but the disk did not confirm it: with
        `sync = "always"`); `dead` letters."""
        names = ("frames", "journaled", "repeated", "dropped_full", "refused_full", "unconfirmed", "dead")
        with self._lock:
            return {name: self._counts[name] for name in names}


def _chunks(frames: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """The frames in runs of about `_CHUNK` bytes."""
    if sum(map(len, frames)) < _CHUNK:
        yield frames
        return
    start = size = 0
    for index, frame in enumerate(frames):
        size += len(frame)
        if size >= _CHUNK:
            yield frames[start : index + 1]
            start, size = index + 1, 0
    if start < len(frames):
        yield frames[start:]
