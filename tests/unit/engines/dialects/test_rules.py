"""Each rule of each dialect, by the SQL that it takes and the SQL that it makes."""

from __future__ import annotations

import pytest

from metlog.engines.dialects import Dialect, Sources, translate
from metlog.engines.dialects.clickhouse import CLICKHOUSE
from metlog.engines.dialects.hive import HIVE
from metlog.engines.dialects.spark import SPARK

SOURCES = Sources({"events": "m.events", "arrivals": "m.arrivals", "files": "m.files"})

# dialect, rule, an expression in DuckDB's words, what must stand in the engine's statement
RULES = [
    (SPARK, "json", "fields->>'a.b'", "GET_JSON_OBJECT(`fields`, '$[\\'a.b\\']')"),
    (SPARK, "json", "fields->'a'->>'b'", "GET_JSON_OBJECT(`fields`, '$[\\'a\\'][\\'b\\']')"),
    (SPARK, "max-by", "arg_max(type, seq)", "MAX_BY((`type`), CASE WHEN (`type`) IS NULL THEN NULL ELSE (`seq`) END)"),
    (SPARK, "min-by", "arg_min(type, seq)", "MIN_BY((`type`), CASE WHEN (`type`) IS NULL THEN NULL ELSE (`seq`) END)"),
    (SPARK, "any-value", "any_value(pid)", "ANY_VALUE((`pid`)) IGNORE NULLS"),
    (SPARK, "date-part", "extract(hour FROM timestamp)", "HOUR((`timestamp`))"),
    (SPARK, "date-trunc", "date_trunc('hour', timestamp)", "DATE_TRUNC('HOUR', `timestamp`)"),
    (SPARK, "epoch", "epoch(timestamp)", "UNIX_MICROS((`timestamp`)) / CAST(1000000 AS DOUBLE)"),
    (SPARK, "current-time", "now()", "CURRENT_TIMESTAMP()"),
    (SPARK, "quantile", "quantile_cont(weight, 0.9)", "PERCENTILE((`weight`), (0.9))"),
    (SPARK, "shift", "seq >> 6", "SHIFTRIGHTUNSIGNED((`seq`), CAST((6) AS INT))"),
    (SPARK, "all-ones", "18446744073709551615::UBIGINT & seq", "(-1)"),
    (SPARK, "like", "payload LIKE 'a\\_%'", "LIKE 'a\\\\\\\\_%'"),
    (SPARK, "cast", "CAST(weight AS INTEGER)", "CAST(BROUND((`weight`)) AS INT)"),
    (SPARK, "cast", "TRY_CAST(fields->>'ms' AS DOUBLE)", "IN ('d', 'D', 'f', 'F')"),
    (SPARK, "strftime", "strftime(timestamp, '%Y-%m')", "'yyyy-MM'"),
    (SPARK, "length", "length(tokens)", "SIZE((`tokens`))"),
    (SPARK, "contains", "contains(tokens, 'x')", "ARRAY_CONTAINS((`tokens`), ('x'))"),
    (SPARK, "list-element", "tokens[1]", "GET((`tokens`), (0))"),
    (SPARK, "timezone", "timezone('Europe/Berlin', timestamp)", "FROM_UTC_TIMESTAMP(CAST((`timestamp`) AS TIMESTAMP), ('Europe/Berlin'))"),
    (SPARK, "count-star", "count(*)", "COUNT(*)"),
    (SPARK, "unnest", "'x' = ANY(tokens)", "ARRAY_CONTAINS((`tokens`), ('x'))"),
    (SPARK, "in-subquery", "type IN (SELECT type FROM events)", "`type` IN (SELECT `type` FROM"),
    (SPARK, "moment-text", "timestamp > '2026-01-01'", "CAST('2026-01-01' AS TIMESTAMP)"),
    (SPARK, "types", "CAST(fields AS VARCHAR)", "CAST(`fields` AS STRING)"),
    (HIVE, "hive-json", "fields->'a'->>'b'", "GET_JSON_OBJECT(`fields`, '$.a.b')"),
    (HIVE, "hive-date-trunc", "date_trunc('week', timestamp)", "NEXT_DAY"),
    (HIVE, "hive-date-part", "extract(hour FROM timestamp)", "HOUR((`timestamp`))"),
    (HIVE, "hive-epoch", "epoch(timestamp)", "CAST((`timestamp`) AS DOUBLE)"),
    (HIVE, "hive-current-time", "now()", "CURRENT_TIMESTAMP()"),
    (HIVE, "hive-null-safe", "type IS DISTINCT FROM payload", "NOT COALESCE("),
    (HIVE, "hive-cast", "TRY_CAST(fields->>'status' AS INTEGER)", "BETWEEN -2147483648 AND 2147483647"),
    (HIVE, "hive-interval", "timestamp - INTERVAL 1 WEEK", "INTERVAL '7' DAY"),
    (HIVE, "hive-like", "payload ILIKE 'A%'", "LOWER((`payload`)) LIKE 'a%'"),
    (HIVE, "hive-date-minus", "current_date - 3", "DATE_ADD((CURRENT_DATE), (3) * -1)"),
    (HIVE, "hive-strftime", "strftime(timestamp, '%Y-%m')", "'yyyy-MM'"),
    (HIVE, "hive-length", "length(tokens)", "SIZE((`tokens`))"),
    (HIVE, "hive-contains", "contains(payload, 'x')", "LOCATE(('x'), (`payload`)) > 0"),
    (HIVE, "hive-starts-with", "starts_with(payload, 'x')", "(`payload`), 1, LENGTH(('x'))) = ('x')"),
    (HIVE, "hive-greatest", "greatest(seq, pid)", "CASE WHEN (`pid`) IS NULL OR (`seq`) >= (`pid`)"),
    (HIVE, "hive-least", "least(seq, pid)", "CASE WHEN (`pid`) IS NULL OR (`seq`) <= (`pid`)"),
    (HIVE, "filter", "sum(weight) FILTER (severity > 3)", "SUM(CASE WHEN (`severity` > 3) THEN `weight` END)"),
    (HIVE, "filter", "count(DISTINCT type) FILTER (severity > 3)", "COUNT(DISTINCT CASE WHEN (`severity` > 3) THEN `type` END)"),
    (HIVE, "timezone", "timezone('Europe/Berlin', timestamp)", "FROM_UTC_TIMESTAMP((`timestamp`), ('Europe/Berlin'))"),
    (HIVE, "count-star", "count(*)", "COUNT(*)"),
    (HIVE, "unnest", "'x' = ANY(tokens)", "ARRAY_CONTAINS((`tokens`), ('x'))"),
    (HIVE, "in-subquery", "type IN (SELECT type FROM events)", "`type` IN (SELECT `type` FROM"),
    (HIVE, "moment-text", "timestamp > '2026-01-01'", "CAST('2026-01-01' AS TIMESTAMP)"),
    (HIVE, "types", "CAST(fields AS VARCHAR)", "CAST(`fields` AS STRING)"),
    (CLICKHOUSE, "clickhouse-json", "fields->>'a'", "JSONExtractString(\"fields\", 'a')"),
    (CLICKHOUSE, "clickhouse-date-trunc", "date_trunc('WEEK', timestamp)", "date_trunc('week', \"timestamp\")"),
    (CLICKHOUSE, "clickhouse-timezone", "timezone('Europe/Berlin', timestamp)",
    "timeZoneOffset(toTimeZone(\"timestamp\", 'Europe/Berlin'))"),
    (CLICKHOUSE, "clickhouse-date-part", "extract(hour FROM timestamp)", 'toHour("timestamp")'),
    (CLICKHOUSE, "clickhouse-epoch", "epoch(timestamp)", 'toUnixTimestamp64Micro("timestamp") / 1000000.0'),
    (CLICKHOUSE, "clickhouse-current-time", "now()", "now64(6)"),
    (CLICKHOUSE, "clickhouse-current-timestamp", "current_timestamp", "now64(6)"),
    (CLICKHOUSE, "clickhouse-cast", "TRY_CAST(fields->>'ms' AS DOUBLE)", "toFloat64OrNull(trimBoth("),
    (CLICKHOUSE, "clickhouse-shift", "seq >> 6", 'bitShiftRight("seq", 6)'),
    (CLICKHOUSE, "clickhouse-bit-and", "seq & 63", 'bitAnd("seq", 63)'),
    (CLICKHOUSE, "clickhouse-types", "timestamp = CAST('2026-01-01' AS TIMESTAMPTZ)", "DateTime64(6, 'UTC')"),
    (CLICKHOUSE, "clickhouse-arg-max", "arg_max(type, seq)", 'argMaxIf("type", "seq", NOT ("type" IS NULL))'),
    (CLICKHOUSE, "clickhouse-contains", "contains(payload, 'x')", "position(\"payload\", 'x') > 0"),
    (CLICKHOUSE, "clickhouse-quantile", "quantile_cont(weight, 0.9)", "quantileExactInclusive(0.9)(\"weight\")"),
    (CLICKHOUSE, "clickhouse-distinct-from", "type IS DISTINCT FROM payload", "NOT COALESCE"),
    (CLICKHOUSE, "clickhouse-round", "round(weight, 1)", 'sign("weight") * (floor(abs("weight") * 10.0 + 0.5) / 10.0)'),
    (CLICKHOUSE, "clickhouse-length", "length(payload)", 'lengthUTF8("payload")'),
    (CLICKHOUSE, "count-star", "count(*)", "count(*)"),
    (CLICKHOUSE, "unnest", "'x' = ANY(tokens)", "has("),
    (CLICKHOUSE, "in-subquery", "type IN (SELECT type FROM events)", '"type" IN'),
    (CLICKHOUSE, "moment-text", "date > '2026-01-01'", "CAST('2026-01-01' AS"),
]  # fmt: skip
WHOLE = [
    (SPARK, "dollar", "SELECT type FROM events WHERE payload = 'a${env:HOME}b${x}'", "CONCAT('a$', '{env:HOME}b$', '{x}')"),
    (HIVE, "dollar", "SELECT type FROM events WHERE payload = '${x}'", "CONCAT('$', '{x}')"),
    (HIVE, "group-all", "SELECT type, count(*) AS n FROM events GROUP BY ALL", "GROUP BY `type`"),
    (HIVE, "aliases", "SELECT lower(type) AS t, count(*) AS n, n * 2 AS twice FROM events GROUP BY t HAVING n > 1",
     "(COUNT(*)) * 2) AS `twice` FROM `m`.`events` AS `events` GROUP BY (LOWER(`type`)) HAVING ((COUNT(*)) > 1)"),
    (HIVE, "subquery-name", "SELECT type FROM (SELECT type FROM events)", ") AS `metlog_1`"),
    (HIVE, "union-operand", "SELECT type FROM events UNION ALL SELECT logger FROM events", "AS `events` UNION ALL SELECT"),
    (HIVE, "join-parens", "SELECT a.type FROM events a JOIN events b USING (seq)", "FROM `m`.`events` AS `a` INNER JOIN"),
    (CLICKHOUSE, "union-operand", "SELECT type FROM events UNION ALL SELECT logger FROM events", 'AS "events" UNION ALL SELECT'),
    (CLICKHOUSE, "join-parens", "SELECT a.type FROM events a JOIN events b USING (seq)", 'AS "a" INNER JOIN'),
]  # fmt: skip
NO_CASE = {"star", "hive-order"}  # only refuses: test_translate


@pytest.mark.parametrize(("dialect", "rule", "text", "made"), RULES, ids=lambda value: getattr(value, "name", None))
def test_an_expression_is_rewritten(dialect: Dialect, rule: str, text: str, made: str) -> None:
    found = translate(f"SELECT {text} FROM events", None, dialect, SOURCES)
    assert made.lower() in found.lower(), f"{rule}: {found}"


@pytest.mark.parametrize(("dialect", "rule", "sql", "made"), WHOLE, ids=lambda value: getattr(value, "name", None))
def test_a_statement_is_rewritten(dialect: Dialect, rule: str, sql: str, made: str) -> None:
    found = translate(sql, None, dialect, SOURCES)
    assert made.lower() in found.lower(), f"{rule}: {found}"


@pytest.mark.parametrize("dialect", [SPARK, HIVE, CLICKHOUSE], ids=lambda dialect: dialect.name)
def test_each_rule_has_its_reason_and_its_test(dialect: Dialect) -> None:
    tested = {rule for of, rule, *_ in (*RULES, *WHOLE) if of is dialect} | NO_CASE
    assert {rule.name for rule in dialect.all_rules} - tested == set()
    for rule in dialect.all_rules:
        assert rule.reason.endswith("."), rule.name
        assert len(rule.reason) > 10, rule.name
