"""The buffer as a state machine: whatever is done in whatever order, every accepted event is in exactly one frame or counted as lost.

METLOG_TEST_EXAMPLES=N runs N sequences of steps (`make test`: 40).
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
import warnings
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from metlog_test_parts import control

import metlog
from tests.helpers.receivers import Seen, own

decode_lines = msgspec.json.Decoder(Seen).decode_lines
KINDS = st.sampled_from(["commanded", "commanded_queued"])
MAX_EVENT = 4000
"""`max_event` of the senders: larger events are cut."""


class Buffer(RuleBasedStateMachine):
    """One client through its lives: each `configure` begins an epoch, with a stream and counts of its own."""

    def __init__(self) -> None:
        super().__init__()
        control.failing, control.delay = False, 0.0
        control.taken = []
        self.client = metlog.MetlogClient()
        self.open = False
        self.number = 0
        self.refused = 0
        self._begin()

    def _begin(self) -> None:
        self.logged: list[str] = []
        self.lost: Counter[str] = Counter()

    # ---- steps -------------------------------------------------------------------------------------------------------

    @initialize(kind=KINDS, interval=st.sampled_from([0.005, 600.0]), small=st.booleans())
    def first(self, kind: str, interval: float, small: bool) -> None:
        self.configure(kind, interval, small)

    @rule(kind=KINDS, interval=st.sampled_from([0.005, 600.0]), small=st.booleans())
    def configure(self, kind: str, interval: float, small: bool) -> None:
        """Also over an open client, whose rest is sent, or counted, by then."""
        before, logged, lost = control.taken, self.logged, self.lost
        was_open = self.open
        lost_now: Counter[str] = Counter()
        taken: list[bytes] = []
        self.lost = lost_now
        buffer = {"flush_interval": interval, "max_bytes": 4000 if small else 1 << 20}
        self.client.configure(
            {"sender": kind, "buffer": buffer, "exit_timeout": 10, "on_drop": lambda why, n: lost_now.update({why: n})}
        )
        if was_open:
            self._check_end(before, logged, lost)
        self.open = True
        control.taken = taken
        self.logged = []

    @precondition(lambda self: self.open)
    @rule()
    def close(self) -> None:
        self.client.close(10)
        self.open = False
        self.refused = 0
        stats = self.client.stats()
        assert stats.buffered == 0
        assert stats.accepted == len(self.logged) == stats.sent + sum(stats.dropped.values())
        assert stats.dropped == dict(self.lost)
        self._check_end(control.taken, self.logged, self.lost)

    @rule(count=st.integers(1, 30))
    def log(self, count: int) -> None:
        for _ in range(count):
            self._log("one")

    @rule(size=st.integers(1500, 3 * MAX_EVENT))
    def log_oversize(self, size: int) -> None:
        """Larger than a frame, or than the transport can carry: alone, and cut."""
        self._log("large", "x" * size)

    @precondition(lambda self: self.open)
    @rule(threads=st.integers(2, 4), count=st.integers(1, 40))
    def log_from_threads(self, threads: int, count: int) -> None:
        names = [[self._name() for _ in range(count)] for _ in range(threads)]
        ended: list[bool] = []

        def work(mine: list[str]) -> None:
            for name in mine:
                self.client.log("threaded", fields={"name": name})
            ended.append(True)

        running = [threading.Thread(target=work, args=(mine,)) for mine in names]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert len(ended) == threads
        self.logged += [name for mine in names for name in mine]

    @rule()
    def flush(self) -> None:
        assert self.client.flush(20)
        assert self.client.stats().buffered == 0

    @rule(failing=st.booleans())
    def command(self, failing: bool) -> None:
        control.failing = failing

    @rule(delay=st.sampled_from([0.0, 0.0, 0.002]))
    def slow(self, delay: float) -> None:
        control.delay = delay

    @rule()
    def pause(self) -> None:
        """The flusher, if its interval is short, has its turn."""
        time.sleep(0.01)

    @precondition(lambda self: self.open)
    @rule(count=st.integers(1, 20))
    def fork(self, count: int) -> None:
        """A child begins with nothing, and accounts for its own; it says through a pipe what it saw."""
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads are running: that is the point
            pid = os.fork()
        if pid == 0:
            logging.disable()  # a thread that stayed in the parent may hold the lock of standard error
            try:
                verdict = self._as_child(count)
            except BaseException:
                verdict = traceback.format_exc()
            os.write(writer, json.dumps(verdict).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            verdict = json.load(pipe)
        os.waitpid(pid, 0)
        assert verdict == "well", verdict

    def _as_child(self, count: int) -> str:
        control.taken = []
        stats = self.client.stats()
        assert (stats.accepted, stats.sent, stats.buffered, stats.dropped) == (0, 0, 0, {}), stats
        self.logged = []
        self.lost.clear()
        for _ in range(count):
            self._log("child")
        assert self.client.flush(20)
        self.close()
        return "well"

    # ---- what holds --------------------------------------------------------------------------------------------------

    @invariant()
    def every_event_is_accounted_for(self) -> None:
        stats = self.client.stats()
        if not self.open:
            assert stats.accepted == stats.sent + sum(stats.dropped.values())
            return
        assert stats.accepted == len(self.logged)
        assert stats.accepted == stats.sent + sum(stats.dropped.values()) + stats.buffered
        assert stats.buffered >= 0

    def teardown(self) -> None:
        control.failing, control.delay = False, 0.0
        if self.open:
            self.close()

    # ---- helpers -----------------------------------------------------------------------------------------------------

    def _name(self) -> str:
        self.number += 1
        return f"n{self.number}"

    def _log(self, type_: str, payload: str = "") -> None:
        name = self._name()
        self.client.log(type_, payload, fields={"name": name})
        if self.open:
            self.logged.append(name)

    def _check_end(self, taken: list[bytes], logged: list[str], lost: Counter[str]) -> None:
        """Of an epoch that is over: each event in one frame at most, those that are in none counted, in the order of logging."""
        assert all(len(frame) <= MAX_EVENT for frame in taken)
        seen: list[Seen] = [event for frame in taken for event in decode_lines(frame)]
        theirs = [event for event in seen if not own(event)]
        # An event that was cut may have lost its fields: it is told by what is left of the names.
        names = [event.fields["name"] for event in theirs]
        assert len(set(names)) == len(names), "twice"
        assert set(names) <= set(logged)
        assert len(logged) - len(names) == sum(lost.values()), (len(logged), len(names), dict(lost))
        assert len({event.stream for event in seen}) <= 1
        seqs = [event.seq for event in seen]
        assert len(set(seqs)) == len(seqs)
        in_order = [event.fields["name"] for event in theirs if event.type != "threaded"]
        assert in_order == sorted(in_order, key=lambda name: int(name[1:]))
        ends: list[Any] = [event for event in seen if event.type == "metlog.end"]
        assert len(ends) <= 1
        if ends:
            assert ends[0] is seen[-1]
            assert ends[0].fields["last_seq"] == ends[0].seq - 1


Buffer.TestCase.settings = settings(
    max_examples=int(os.environ.get("METLOG_TEST_EXAMPLES", "40")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBuffer = pytest.mark.slow(Buffer.TestCase)
