"""Events that are strange and valid: what the listener takes, and every output has to hand on or to refuse."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from metlog.journal.reader import Entry
from metlog.journal.segment import Clock, Record, SegmentName
from metlog.listener.delivery.batches import _delivery
from metlog.listener.delivery.lines import lines_of
from metlog.listener.outputs import Delivery
from metlog.listener.validate import validate
from tests.helpers.corpus import FRAMES, frame_of

RECEIVED_AT: Final = 1_790_000_000_000_000
NUMBERS: Final = (
    0, -1, -0.0, 0.1, 5e-324, 1e308, -1e308, 1.7976931348623157e308, 2**63, -(2**63) - 1, 2**64, 10**30, -(10**400), 10**4000,
)  # fmt: skip
TEXTS: Final = (
    "", " ", ".", "..", "a\nb\r\n", "\x00", "\x1b[31m", "\u2028\u202e\ufeff\uffff", "ä日😀", '"\\', "a:1|c\nb:2|g", "%s%n{}{logger}",
    "x" * 70_000, "日" * 30_000,
)  # fmt: skip
METRICS: Final = ("counter", "timer", "gauge", "set")


def _nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"": value}
    return value


VALUES: Final = (*NUMBERS, *TEXTS, None, True, [], {}, [[], {"": [None, 10**400]}], _nested(90), [0] * 1_000)


def _made() -> list[dict[str, Any]]:
    """One of each, beside what the corpus has."""
    found: list[dict[str, Any]] = [{"type": "a", "fields": {"v": value}} for value in VALUES]
    found += [{"type": "a", "fields": {text: text}} for text in TEXTS]
    for name in ("type", "logger", "hostname", "stream", "payload", "env_version"):
        found += [{"type": "a", name: text} for text in TEXTS]
    found += [{"type": "a", "fields": {name: [0] * 10_000}} for name in ("v", "body", "resource")]
    found += [{"type": "a", "tokens": list(TEXTS)}, {"type": "a", "tokens": [""] * 20_000}]
    found += [{"type": "a", "pid": 2**63 - 1, "seq": 2**63 - 1, "weight": weight} for weight in (5e-324, 0.1, 1e15)]
    for name in METRICS:
        for key in ("count", "ms", "value", "delta"):
            for weight in (1.0, 5e-324, 100.0, 1e15):
                found += [
                    {"type": name, "weight": weight, "fields": {"name": "n", key: value}} for value in (*VALUES, -3.5)
                ]
        found += [{"type": name, "fields": {"name": value, "count": 1, "ms": 1, "value": 1}} for value in VALUES]
        found += [{"type": name, "fields": {"name": "n", "count": 1e308, "ms": 1e308, "value": 1e308}}] * 2
    # Names that OTLP has a place for, and what the encoder `text` writes by itself.
    for name in (
        "resource", "body", "scope", "trace_id", "span_id", "severity_text", "event.name", "metlog.seq", "metlog.weight", "service.name",
        "traceback", "timestamp", "date",
    ):  # fmt: skip
        found += [{"type": "a", "fields": {name: value}} for value in VALUES]
        found += [{"type": "a", "fields": {name: text}} for text in ("0" * 32, "0" * 16, "G" * 32, "0" * 32 + "\n")]
    found += [{"type": "a", "fields": {"resource": {"service.name": value, "x": value}}} for value in VALUES]
    found += [{"type": "a", "fields": {"resource": {"x": value}}} for value in VALUES]
    return found


def journaled(events: list[dict[str, Any]]) -> bytes:
    """The lines that the listener journals of them. They are valid: none is refused."""
    checked = [validate(msgspec.json.encode(event) + b"\n") for event in events]
    assert [found.invalid[0].reason for found in checked if found.invalid] == []
    return b"".join(found.lines for found in checked)


def strange_lines() -> bytes:
    """The lines of all of them, those of the good frames of tests/corpus among them."""
    corpus = b"".join(validate(frame_of(entry)).lines for entry in FRAMES)
    return corpus + journaled(_made())


def record_of(lines: bytes) -> Record:
    return Record(0, 0, RECEIVED_AT, lines.count(b"\n"), "udp://10.0.0.1:5565", "", lines)


def deliveries_of(lines: bytes) -> list[Delivery]:
    """As an output gets them from a listener that takes every time for true."""
    record, clock = record_of(lines), Clock(10**12, 10**12)
    found = list(lines_of(record, 0))
    assert [line.reason for line in found if line.row is None] == []
    entry = Entry(SegmentName(1, "test"), clock, record)
    return [_delivery(entry, line.row) for line in found if line.row is not None]


values: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**500), 10**500)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
_names: Final = (
    st.sampled_from(["name", "count", "ms", "value", "delta", "resource", "body", "scope", "trace_id", "traceback"])
    | st.text()
)
events: Final = st.fixed_dictionaries(
    {"type": st.sampled_from([*METRICS, "a", ""]) | st.text(), "fields": st.dictionaries(_names, values, max_size=5)},
    optional={
        "logger": st.text(), "payload": st.text(), "stream": st.text(), "hostname": st.text(),
        "tokens": st.lists(st.text(), max_size=3), "severity": st.integers(0, 7), "pid": st.integers(0, 2**63 - 1),
        "seq": st.integers(0, 2**63 - 1), "weight": st.floats(0, 1e15, exclude_min=True),
        "timestamp": st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    },
)  # fmt: skip
"""Any event that a client may send, as JSON has it."""
