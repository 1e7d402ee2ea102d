"""Which SELECTs are answered by promoted columns, and that their answers, names and types are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from metlog.lake.query import Lake, QueryError
from metlog.lake.sql.guard import parse
from metlog.lake.sql.promoted import name_in
from tests.helpers.promoted import data_set

_EVENTS: list[list[list[dict[str, Any]]]] = [
    [[{"user": "u1", "ms": 1.5, "n": 1}, {"user": "u2", "ms": 12, "n": 2}], [{"user": "u1", "ms": 7.5, "n": 3, "a": {"b": 1}}]],
    [[{"user": "u3"}, {"n": 9, "ms": None}]],
]  # fmt: skip
_PROMOTED = (
    "SELECT fields->>'user' FROM events ORDER BY seq",
    "SELECT FIELDS->>'user' AS u, count(*) FROM Events GROUP BY u ORDER BY u",
    "SELECT fields->>'user', count(*) FROM events GROUP BY ALL ORDER BY ALL",
    "SELECT * FROM events WHERE fields->>'user' = 'u1' ORDER BY seq",
    "SELECT *, json_extract_string(fields, '$.user') FROM events ORDER BY seq",
    "SELECT e.*, e.fields->'$.n' AS n FROM events e ORDER BY seq",
    "SELECT * EXCLUDE (fields), fields->>'user' AS u FROM events ORDER BY seq",
    "SELECT * REPLACE (fields->>'user' AS payload) FROM events ORDER BY seq",
    "SELECT DISTINCT fields->>'user' AS u FROM events ORDER BY 1",
    "SELECT DISTINCT ON (fields->>'user') seq FROM events ORDER BY fields->>'user', seq",
    "SELECT seq FROM events ORDER BY fields->>'user' DESC, seq LIMIT 2",
    "SELECT avg((fields->>'ms')::DOUBLE), sum(CAST(fields->>'n' AS BIGINT)), max(TRY_CAST(fields->'ms' AS DOUBLE)) FROM events",
    "SELECT max(fields->>'user') FILTER (fields->>'n' = '1') FROM events",
    "SELECT fields->>'user' AS u FROM events GROUP BY u HAVING sum((fields->>'n')::INT) > 2 ORDER BY u",
    "SELECT seq, row_number() OVER (PARTITION BY fields->>'user' ORDER BY seq) FROM events "
    "QUALIFY row_number() OVER (PARTITION BY fields->>'user' ORDER BY seq) = 1 ORDER BY seq",
    "SELECT * FROM (SELECT fields->>'user', fields->'$.n' FROM events) WHERE \"(fields ->> 'user')\" = 'u1'",
    "WITH a AS (SELECT fields->>'user' AS u FROM events) SELECT u FROM a UNION ALL SELECT fields->>'n' FROM events ORDER BY 1",
    "SELECT e.fields->>'user', f.fields->>'n' FROM events e JOIN events f USING (seq) ORDER BY seq",
    "SELECT e.fields->>'user' FROM events e, (SELECT 1 AS fields) x ORDER BY seq",
    "SELECT seq, (SELECT max(fields->>'user') FROM events f WHERE f.seq < e.seq) FROM events e WHERE fields->>'user' > '' ORDER BY 1",
    "SELECT seq FROM events WHERE fields->>'user' IN (SELECT fields->>'user' FROM events WHERE fields->>'n' = '3') ORDER BY 1",
    "SELECT fields->>'user' AS u FROM events WHERE timestamp > '2020-01-01' AND date > '2020-01-01' ORDER BY u",
    "DESCRIBE SELECT fields->>'user', * FROM events",
    "SELECT fields->>'user' AS u, count(*) AS events FROM events GROUP BY u ORDER BY events DESC, u",
    "SELECT fields->>'user' AS u, sum(weight) AS EVENTS FROM events e WHERE fields->>'user' > '' GROUP BY u ORDER BY Events, u LIMIT 2",
    "SELECT fields->>'user' AS u, count(*) FROM (SELECT * FROM events WHERE seq < 4) e GROUP BY u ORDER BY u",
    "WITH r AS (SELECT * FROM events WHERE fields->>'user' > '') SELECT fields->>'n' AS n, * FROM r ORDER BY seq",
    "WITH r AS (SELECT seq, fields FROM events) SELECT *, r.fields->>'n' FROM r JOIN events USING (seq) ORDER BY seq",
    "WITH r AS (SELECT seq, e.fields FROM events e ORDER BY seq LIMIT 3) SELECT sum((fields->>'n')::INT), max(fields->'user') FROM r",
    "SELECT * FROM (SELECT * FROM (SELECT * FROM events) a WHERE fields->>'user' = 'u1') b ORDER BY seq",
    "SELECT x.fields->>'n', y.fields->>'n' FROM (SELECT * FROM events) x JOIN (SELECT seq, fields FROM events) y USING (seq) ORDER BY seq",
    "SELECT list_transform(tokens, lambda t: t || '!'), fields->>'user' FROM events ORDER BY seq",
    "SELECT CASE WHEN fields->>'n' IS NULL THEN fields->'user' ELSE fields->'n' END AS v FROM events ORDER BY seq",
    "SELECT fields->>'user' AS metlog_field_0, seq FROM events ORDER BY seq",
)  # fmt: skip
_AS_WRITTEN = (
    "SELECT fields FROM events ORDER BY seq",
    "SELECT payload AS fields, fields->>'user' FROM events ORDER BY seq",
    "SELECT events FROM events WHERE fields->>'user' = 'u1' ORDER BY seq",
    "SELECT fields->>'user' AS u FROM events ORDER BY events",
    "SELECT fields->>'user' AS u, count(*) AS events FROM events GROUP BY u HAVING events > 1 ORDER BY u",
    "SELECT COLUMNS('s.*q'), fields->>'user' FROM events ORDER BY seq",
    "SELECT count(*) FROM events NATURAL JOIN events f WHERE f.fields->>'user' = 'u1'",
    "SELECT count(COLUMNS(*)), count(fields->>'user') FROM events",
    "SELECT fields->>'user' FROM events e(a, b, c, d, f, g, fields) ORDER BY 1",
    "SELECT fields->>'user' FROM (SELECT '{\"user\": 1}'::JSON AS fields) events",
    "SELECT list_transform(tokens, lambda fields: fields->>'user') FROM events ORDER BY seq",
    "WITH f AS (SELECT '{\"user\": 7}'::JSON AS fields) SELECT fields->>'user' FROM f",
    "SELECT fields->>['user', 'n'] FROM events ORDER BY seq",
    "WITH r AS (SELECT * FROM events) SELECT a.fields->>'user', b.seq FROM r a JOIN r b USING (seq) ORDER BY seq",
    "SELECT fields->>'user' FROM (SELECT DISTINCT fields FROM events) e ORDER BY 1",
    "SELECT fields->>'user' FROM (SELECT * REPLACE ('{}'::JSON AS fields) FROM events) e ORDER BY 1",
    "SELECT fields->>'user' FROM (SELECT * EXCLUDE (fields), '{}'::JSON AS fields FROM events) e ORDER BY 1",
    "SELECT fields->>'user' FROM (SELECT fields FROM events UNION ALL SELECT fields FROM events) e ORDER BY 1",
    "WITH r(a, fields) AS (SELECT seq, fields FROM events) SELECT fields->>'user' FROM r ORDER BY a",
    "SELECT fields->>'user' FROM (SELECT any_value(fields) AS fields FROM events WHERE seq = 1) e",
    "SELECT e FROM (SELECT seq, fields FROM events) e WHERE fields->>'user' = 'u1' ORDER BY seq",
    "SELECT fields->>lower('USER') FROM events ORDER BY seq",
    "SELECT seq FROM events e WHERE EXISTS (SELECT 1 FROM (SELECT 1) x WHERE fields->>'user' = 'u1') ORDER BY seq",
)  # fmt: skip


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Lake]]:
    """The same events with promoted columns and without."""
    promoted = data_set(tmp_path_factory.mktemp("promoted"), _EVENTS, promote=["user", "ms", "n"])
    plain = data_set(tmp_path_factory.mktemp("plain"), _EVENTS, promote=False)
    with Lake(promoted) as one, Lake(plain) as other:
        yield one, other


@pytest.mark.parametrize("sql", _PROMOTED + _AS_WRITTEN)
def test_promoted_columns_change_no_answer(lakes: tuple[Lake, Lake], sql: str) -> None:
    answers = []
    for lake in lakes:
        try:
            result = lake.query(sql)
            answers.append(([(column.name, column.type) for column in result.columns], result.rows))
        except QueryError as error:
            answers.append((error.kind, error.message))  # type: ignore[arg-type]
    assert answers[0] == answers[1]
    assert (parse(sql).promotable is not None) == (sql in _PROMOTED)


@pytest.mark.parametrize("sql", _PROMOTED)
def test_the_rewritten_query_is_what_runs(lakes: tuple[Lake, Lake], sql: str) -> None:
    promotable = parse(sql).promotable
    assert promotable is not None
    assert "metlog_promoted" in promotable.sql
    wanted = ", ".join(f"NULL::VARCHAR AS {column.column}" for column in promotable.wanted)
    with lakes[0]._connection.cursor() as cursor:  # it binds: else it would run as written, and slowly
        cursor.execute(
            "CREATE OR REPLACE TEMP TABLE metlog_promoted AS SELECT now() AS timestamp, current_date AS date, '' AS type, [''] AS tokens, "
            f"1::BIGINT AS seq, 1.0::DOUBLE AS weight, '' AS payload, '{{}}'::JSON AS fields, {wanted}"
        )
        cursor.execute("CREATE OR REPLACE TEMP VIEW events AS SELECT * FROM metlog_promoted")
        cursor.execute(f"EXPLAIN {promotable.sql}" if not sql.startswith("DESCRIBE") else promotable.sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT fields->>$f AS v FROM events ORDER BY seq",
        "SELECT (fields->>$f)::DOUBLE FROM events WHERE fields->>$f <> $other ORDER BY seq",
    ],
)
@pytest.mark.parametrize("name", ["user", "ms", "$.n", "a", "$.a.b", "nothing", 0, None])
def test_a_path_that_is_a_parameter(lakes: tuple[Lake, Lake], sql: str, name: Any) -> None:
    params = {"f": name, **({"other": "x"} if "$other" in sql else {})}
    answers = []
    for lake in lakes:
        try:
            answers.append(lake.query(sql, params).rows)
        except QueryError as error:
            answers.append(error.kind)  # type: ignore[arg-type]
    assert answers[0] == answers[1]


def test_parameters_without_names(lakes: tuple[Lake, Lake]) -> None:
    sql = "SELECT seq FROM events WHERE fields->>? = ? AND seq > ? ORDER BY seq"
    assert [lake.query(sql, ["user", "u1", 1]).rows for lake in lakes] == [[(3,)], [(3,)]]


def test_who_sees_some_services_only_sees_no_more(lakes: tuple[Lake, Lake]) -> None:
    sql = "SELECT fields->>'user' AS u, sum((fields->>'n')::INT) FROM events GROUP BY u ORDER BY u"
    for loggers in (["shop"], ["other"]):
        one, other = (lake.query(sql, loggers=loggers).rows for lake in lakes)
        assert one == other
    assert lakes[0].query("SELECT count(*) FROM events WHERE (fields->>'user')::INT = 1", loggers=["other"]).rows == [
        (0,)
    ]


def test_nobody_can_name_the_view_or_its_columns(lakes: tuple[Lake, Lake]) -> None:
    for sql in (
        "SELECT * FROM metlog_promoted",
        "SELECT metlog_field_0, fields->>'user' FROM events",
        "WITH metlog_promoted AS (SELECT 1) SELECT * FROM metlog_promoted",
    ):
        with pytest.raises(QueryError):
            lakes[0].query(sql)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("user", "user"), ("a.b", "a.b"), ("größe", "größe"), ("$.user", "user"), ('$."a.b"', "a.b"), ("/user", "user"), ("$.a.b", None),
        ("$", None), ("", None), ("0", None), ("$[0]", None), ("$.*", None), ('$."a*"', None), ("/a/b", None), ("a*", None), ('a"b', None),
    ],
)  # fmt: skip
def test_which_name_a_path_means(path: str, name: str | None) -> None:
    assert name_in(path) == name
