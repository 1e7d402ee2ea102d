"""The least that Python can do for a row of docs/performance.md, beside what metlog does: `python benchmarks/floors.py`.

Each function here does what the row promises and nothing else: no class, no settings, no lock, no drop accounting, no fork, no
signals, no flusher. What stays is what an event needs: a call with keywords, tokens that are text, the context, a copy of the fields
that cannot change any more, a look at each value (what is no finite number or may change has to be encoded at the call), a number,
the record, a frame of several encoded together, and its datagram. A target below that cannot be had in Python. A call that asks
for anything else raises NotImplementedError, so that no measurement is of such a call. `bare_log` and `bare_single` both spell out the
look at each value, since a function for it would be measured, too.
"""

from __future__ import annotations

import argparse
import logging
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, NamedTuple

import msgspec

from metlog.bench import CASES, Case, Row, as_table, run
from metlog.bench.modes import FLOOR, SEND, plain_logger
from metlog.bench.run import Opened, both, drained
from metlog.core.context import current
from metlog.encoders.json import JsonRecord
from metlog.filters._masks import may_find

ORIGIN: Final = msgspec.Raw(
    b'"0123456789abcdef","logger":"sync","env_version":"1","pid":4711,"hostname":"host"'
)  # what ends every line
FIXED: Final = frozenset({bool, type(None)})
LARGEST: Final = 2**63 - 1
BESIDE: Final = frozenset({"message", "asctime", "taskName"})
LAST: Final = list(logging.makeLogRecord({}).__dict__)[-1]

now, context = datetime.now, current.get
encode_lines: Final = msgspec.json.Encoder().encode_lines


class Frame:
    """Records that are encoded together, and their datagram."""

    def __init__(self, events: int) -> None:
        port, close = drained()
        connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connected.connect(("127.0.0.1", port))
        self.held: list[Any] = []
        self.append, self.send, self.events = self.held.append, connected.send, events
        self.close = both(connected.close, close)


def bare_log(
    frame: Frame, looks: Callable[[tuple[str, ...], str, dict[str, Any]], bool] | None = None
) -> Callable[..., None]:
    """`log`: `looks` is the least of a filter. The look at the fields stands in the function itself: a call costs more."""
    numbers, events, held, append = count(1).__next__, frame.events, frame.held, frame.append
    known: dict[Any, tuple[str, ...]] = {}

    def log(
        tokens: Any, msg: str = "", *, severity: int = 6, fields: dict[str, Any] | None = None, **more: Any
    ) -> None:
        try:
            tokens = known[tokens]
        except KeyError:
            known[tokens] = tokens = tuple(map(str, tokens))
        own = fields.copy() if fields else more
        if context() is not None or (looks is not None and not looks(tokens, msg, own)):
            raise NotImplementedError
        for name, value in own.items():
            if type(name) is not str:
                raise NotImplementedError
            kind = type(value)
            if kind is str:
                continue
            if kind is float:
                if value - value:
                    raise NotImplementedError
            elif kind is int:
                if value > LARGEST or value < -LARGEST:
                    raise NotImplementedError
            elif kind not in FIXED:
                raise NotImplementedError
        append(JsonRecord(now(UTC), tokens[0], tokens, severity, msg, own, numbers(), ORIGIN))
        if len(held) >= events:
            frame.send(encode_lines(held))
            held.clear()

    return log


def bare_single(frame: Frame) -> Callable[..., None]:
    """One datagram an event: it is encoded at once, so that the fields need no copy."""
    numbers, send, sent = count(1).__next__, frame.send, count(1).__next__
    known: dict[Any, tuple[str, ...]] = {}

    def log(
        tokens: Any, msg: str = "", *, severity: int = 6, fields: dict[str, Any] | None = None, **more: Any
    ) -> None:
        try:
            tokens = known[tokens]
        except KeyError:
            known[tokens] = tokens = tuple(map(str, tokens))
        own = fields or more
        if context() is not None:
            raise NotImplementedError
        for name, value in own.items():
            if type(name) is not str:
                raise NotImplementedError
            kind = type(value)
            if kind is str:
                continue
            if kind is float:
                if value - value:
                    raise NotImplementedError
            elif kind is int:
                if value > LARGEST or value < -LARGEST:
                    raise NotImplementedError
            elif kind not in FIXED:
                raise NotImplementedError
        send(encode_lines([JsonRecord(now(UTC), tokens[0], tokens, severity, msg, own, numbers(), ORIGIN)]))
        sent()  # what `stats()` counts

    return log


def masked(tokens: tuple[str, ...], payload: str, fields: dict[str, Any]) -> bool:
    """Whether none of four masks finds anything: the texts together, looked at once."""
    texts = [payload, *tokens]
    for value in fields.values():
        if type(value) is str:
            texts.append(value)
        elif type(value) is float or type(value) is int:
            texts.append(str(value))
    return not may_find("\n".join(texts))


class BareHandler(logging.Handler):
    """The record's attributes as fields, the message, what `extra` holds: the least of a handler, without its lock.

    What calls of one place share is looked at once.
    """

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame
        self.numbers = count(1).__next__
        self.sites: dict[Any, tuple[tuple[str, ...], dict[str, Any]]] = {}

    def handle(self, record: logging.LogRecord) -> bool:
        frame, its = self.frame, record.__dict__
        key = (
            its["name"], its["levelname"], its["pathname"], its["lineno"], its["funcName"], its["threadName"],
            its["processName"],
        )  # fmt: skip
        try:
            tokens, shared = self.sites[key]
        except KeyError:
            names = ("logger_name", "level", "pathname", "lineno", "func", "thread", "process")
            self.sites[key] = tokens, shared = ("oldstyle", key[0]), dict(zip(names, key, strict=True))
        fields = shared.copy()
        for other in reversed(its):
            if other == LAST:
                break
            if other not in BESIDE:
                fields[other] = value = its[other]
                if type(value) is not str:
                    raise NotImplementedError
        if (
            self.filters or self.formatter or its["args"] or its["exc_info"] or its["exc_text"] or its["stack_info"]
            or its.get("taskName") or type(record) is not logging.LogRecord or context() is not None
        ):  # fmt: skip # each of these asks for something else
            raise NotImplementedError
        severity = 6 if its["levelno"] == logging.INFO else 4
        frame.append(JsonRecord(now(UTC), "oldstyle", tokens, severity, its["msg"], fields, self.numbers(), ORIGIN))
        if len(frame.held) >= frame.events:
            frame.send(encode_lines(frame.held))
            frame.held.clear()
        return True


def case(name: str, events: int, make: Callable[[Frame], Callable[[int], None]]) -> Case:
    def opened() -> Opened:
        frame = Frame(events)
        return make(frame), frame.close

    return Case(name, "scale", opened)


def calls(log: Callable[..., None]) -> Callable[[int], None]:
    def loop(number: int) -> None:
        for _ in range(number):
            log(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})

    return loop


def texts(frame: Frame) -> Callable[[int], None]:
    log = bare_log(frame, masked)

    def loop(number: int) -> None:
        for _ in range(number):
            log(
                ("login", "sync"),
                "user logged in",
                fields={"user": "u1", "path": "/a/b", "agent": "Mozilla/5.0", "ms": 12.5},
            )

    return loop


def records(frame: Frame) -> Callable[[int], None]:
    logger = plain_logger(BareHandler(frame))

    def loop(number: int) -> None:
        for _ in range(number):
            logger.info("user logged in", extra={"user": "u1", "path": "/a/b"})

    return loop


FLOORS: Final = (
    case("least: 8 KB frames", 28, lambda frame: calls(bare_log(frame))),
    case("least: 1,432-byte frames", 5, lambda frame: calls(bare_log(frame))),
    case("least: one datagram an event", 1, lambda frame: calls(bare_single(frame))),
    case("least: masking in three texts", 27, texts),
    case("least: stdlib handler", 17, records),
)
SMALL: Final = "hand-written, 1,432-byte frames, lock"
NO_HANDLER: Final = "stdlib handler that does nothing"
HANDLER: Final = "metlog stdlib handler"


class Target(NamedTuple):
    """A row: what is measured less `less`, over the sum of `over`, is to be `most`."""

    ours: str
    least: str
    most: float
    over: tuple[str, ...] = (FLOOR.name,)
    less: str | None = None


TARGETS: Final = (
    Target("metlog default (JSON, UDP)", "least: 8 KB frames", 1.6),
    Target("metlog 1,432-byte frames", "least: 1,432-byte frames", 1.15, (SMALL,)),
    Target("metlog one datagram an event", "least: one datagram an event", 1.2, (FLOOR.name, SEND.name)),
    Target("metlog masking in three texts, four kinds", "least: masking in three texts", 5.0),
    Target(HANDLER, "least: stdlib handler", 3.0, less=NO_HANDLER),
)


def table(rows: list[Row]) -> str:
    best = {row.name: min(row.rounds) for row in rows}  # the best round: what others do on the machine only adds
    lines = ["| row | over | target | least | metlog |", "| --- | --- | ---: | ---: | ---: |"]
    for target in TARGETS:
        under = sum(best[name] for name in target.over)
        less = 0.0 if target.less is None else best[target.less]
        least, ours = (best[target.least] - less) / under, (best[target.ours] - less) / under
        over = " + ".join(name.partition(":")[0] for name in target.over)
        beyond = "" if target.less is None else f", beyond {target.less}"
        lines.append(f"| {target.ours}{beyond} | {over} | {target.most} | {least:.2f} | {ours:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument(
        "--calls", type=int, default=1000, help="in short rounds, of which some are undisturbed on a busy machine"
    )
    args = parser.parse_args()
    wanted = {name for target in TARGETS for name in (target.ours, target.less, *target.over)}
    cases = [each for each in CASES if each.name in wanted]
    rows = run([*cases, *FLOORS], rounds=args.rounds, calls=args.calls)
    print(as_table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
