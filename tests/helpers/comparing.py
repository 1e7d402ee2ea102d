"""The same questions to two engines."""

from __future__ import annotations

from collections.abc import Iterator

from metlog.lake.interface import Engine
from metlog.lake.sql.guard import QueryError
from tests.helpers.engines import AGGREGATES, EXPRESSIONS, differences

WHERE = "logger = 'odd' AND date >= DATE '2026-03-01'"
ORDER = "timestamp, type, seq, payload, fields"


def expressions(ours: Engine, theirs: Engine, *, at_once: int = 24) -> Iterator[str]:
    """What differs of EXPRESSIONS, each told on its own; nothing when all are equal. Those that `theirs` refuses are told by `refused`."""
    taken = [text for text in EXPRESSIONS if _taken(theirs, f"SELECT {text} FROM events")]
    for start in range(0, len(taken), at_once):
        some = taken[start : start + at_once]
        sql = f"SELECT {', '.join(some)} FROM events WHERE {WHERE} ORDER BY {ORDER}"
        left, right = ours.query(sql), theirs.query(sql)
        assert left.arrow.schema == right.arrow.schema
        assert len(left.rows) > 50
        for place, text in enumerate(some):
            for line in differences([[row[place]] for row in left.rows], [[row[place]] for row in right.rows]):
                yield f"{text}: {line}"


def aggregates(ours: Engine, theirs: Engine) -> Iterator[str]:
    """The same for AGGREGATES, by severity."""
    taken = [text for text in AGGREGATES if _taken(theirs, f"SELECT {text} FROM events")]
    sql = f"SELECT severity, {', '.join(taken)} FROM events WHERE {WHERE} GROUP BY ALL ORDER BY severity"
    left, right = ours.query(sql), theirs.query(sql)
    for place, text in enumerate(("severity", *taken)):
        for line in differences([[row[place]] for row in left.rows], [[row[place]] for row in right.rows]):
            yield f"{text}: {line}"


def refused(theirs: Engine) -> list[str]:
    """Expressions that an engine says it lacks."""
    return [text for text in (*EXPRESSIONS, *AGGREGATES) if not _taken(theirs, f"SELECT {text} FROM events")]


def _taken(engine: Engine, sql: str) -> bool:
    try:
        engine.translated(sql)  # type: ignore[attr-defined]
    except QueryError as error:
        if error.kind != "unsupported":
            raise
        return False
    return True
