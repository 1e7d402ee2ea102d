"""A query over promoted columns gives what the same query gives over `fields`, for any events and any expression."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metlog.lake.query import Lake, QueryError
from tests.helpers.promoted import NAMES, data_set

_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
_INTEGERS = (
    st.integers(-(2**70), 2**70) | st.integers(-5, 5) | st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63)])
)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000).map(lambda n: n / 100)
_NUMBERS_AS_TEXT = st.sampled_from(
    ["1", "1.0", "-0", " 7", "1e3", "99999999999999999999", "", "true", "null", '"', "é"]
)
_ANY = st.recursive(
    st.none() | st.booleans() | _INTEGERS | _FLOATS | _TEXT | _NUMBERS_AS_TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*NAMES, "b"]), inner, max_size=2),
    max_leaves=4,
)
_KINDS = st.sampled_from(
    [
        _TEXT,
        _NUMBERS_AS_TEXT,
        st.booleans(),
        st.integers(-3, 600),
        st.integers(-(2**63), 2**63 - 1),
        _INTEGERS,
        st.integers(-1000, 1000).map(lambda n: n / 100),
        _FLOATS,
        st.integers(-5, 5) | st.sampled_from([0.5, 1.25]),
        st.integers(-5, 5) | st.sampled_from([0.5, 1.0]),
        st.none() | _TEXT,
        st.none() | st.integers(),
        st.sampled_from([1, "1", True, "x"]),
        _ANY,
    ]
)


@st.composite
def _files(draw: st.DrawFn) -> list[list[list[dict[str, Any]]]]:
    """Fields of events by file and row group: most names have one kind, as they have in practice."""
    files = []
    for _ in range(draw(st.integers(1, 2))):
        kinds = {name: draw(_KINDS) for name in NAMES}
        events = st.fixed_dictionaries({}, optional=kinds)
        some = st.lists(events, min_size=1, max_size=6)
        groups = draw(st.lists(some, min_size=1, max_size=2))
        if draw(st.integers(0, 3)) == 0:
            groups.append(draw(st.lists(st.dictionaries(st.sampled_from(NAMES), _ANY), min_size=1, max_size=2)))
        files.append(groups)
    return files


def _paths() -> Iterator[str]:
    for name in NAMES:
        yield name
        if name.isidentifier() and name.isascii():
            yield f"$.{name}"
            yield f"/{name}"
        yield f'$."{name}"'
    yield from ("$.user.b", "$.*", "/user/b", "user.b", "USER", "$", "0", "$[0]", "nothing", "")


PATHS = tuple(_paths())
FORMS = (
    "fields->>{}",
    "json_extract_string(fields, {})",
    "fields->{}",
    "json_extract(fields, {})",
    *(
        f"TRY_CAST({inner} AS {kind})"
        for inner in ("fields->>{}", "fields->{}")
        for kind in ("DOUBLE", "BIGINT", "INTEGER")
    ),
    "CAST(fields->>{} AS DOUBLE)",
    "(fields->>{})::BIGINT",
    "(fields->{})::DOUBLE",
    "(fields->{})::INTEGER",
    "TRY_CAST(fields->>{} AS DECIMAL(10, 2))",
    "TRY_CAST(fields->>{} AS BOOLEAN)",
    "upper(fields->>{}) || '!'",
    "(fields->>{}) IS NULL",
    "fields->{}->>'b'",
)


def _asked(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any] | None:
    """Without promoted columns; None for an error."""
    try:
        return [row[0] for row in connection.execute(sql).fetchall()]
    except duckdb.Error:
        return None


def _answered(lake: Lake, sql: str, params: Any = None) -> list[Any] | None:
    try:
        return [row[0] for row in lake.query(sql, params).rows]
    except QueryError:
        return None


def _plain(data: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    files = f"read_parquet('{data}/events/*/*.parquet', union_by_name = true)"
    connection.execute(f"CREATE VIEW events AS SELECT * REPLACE (CAST(fields AS JSON) AS fields) FROM {files}")
    return connection


def _same(one: Sequence[Any] | None, other: Sequence[Any] | None) -> bool:
    return repr(one) == repr(other)  # tells 1 from 1.0, and 0.0 from -0.0


@pytest.mark.slow
@given(files=_files(), path=st.sampled_from(PATHS))
@settings(
    max_examples=int(os.environ.get("METLOG_TEST_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_each_expression_has_the_answer_that_fields_has(files: list[list[list[dict[str, Any]]]], path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = data_set(Path(folder), files)
        with Lake(data, threads=1) as lake, _plain(data) as plain:
            quoted = "'" + path.replace("'", "''") + "'"
            for form in FORMS:
                sql = f"SELECT {form.format(quoted)} AS v FROM events ORDER BY seq"
                wanted = _asked(plain, sql)
                assert _same(_answered(lake, sql), wanted), sql
                by_name = f"SELECT {form.format('$path')} AS v FROM events ORDER BY seq"
                assert _same(_answered(lake, by_name, {"path": path}), wanted), sql
            for condition in ("= '1'", "> 'a'", "IN ('x', '', 'true', '1.0')", "IS NOT NULL"):
                sql = f"SELECT seq FROM events WHERE fields->>{quoted} {condition} ORDER BY seq"
                assert _same(_answered(lake, sql), _asked(plain, sql)), sql
