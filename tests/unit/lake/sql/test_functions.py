"""The list of functions that a query may call, against the DuckDB that is installed."""

from __future__ import annotations

from fnmatch import fnmatchcase

import duckdb
import pytest

from metlog.lake.sql.functions import ALLOWED, REFUSED, REVIEWED, TABLES, installed, main, unreviewed
from metlog.lake.sql.guard import QueryError, parse

BY_THE_PARSER = {"!", "->", "<>", "coalesce", "grouping", "grouping_id", "ifnull", "try"}
"""Functions in the parsed tree that are none in the engine's own list."""


def test_every_function_of_the_reviewed_release_has_been_judged() -> None:
    new = unreviewed(installed())
    if duckdb.__version__ != REVIEWED:
        pytest.skip(
            f"DuckDB {duckdb.__version__} has {len(new)} functions that functions.toml ({REVIEWED}) has not: {new}"
        )
    assert new == []


def test_what_is_allowed_is_there_and_is_not_refused_as_well() -> None:
    if duckdb.__version__ == REVIEWED:
        assert (ALLOWED | TABLES) - installed() == BY_THE_PARSER
    assert [n for n in ALLOWED | TABLES if any(fnmatchcase(n, pattern) for pattern in REFUSED)] == []


def test_a_function_that_nobody_has_read_is_named_and_cannot_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert unreviewed({"sum", "read_any_file", "brand_new", "unnest"}) == ["brand_new"]
    with pytest.raises(QueryError, match="'brand_new' is not available"):
        parse("SELECT brand_new(1)")
    with pytest.raises(QueryError, match="did you mean 'count'"):
        parse("SELECT cuont(1)")
    assert main() == (1 if unreviewed(installed()) else 0)
    assert REVIEWED in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        "read_text", "read_blob", "read_parquet", "parquet_scan", "parquet_metadata", "read_duckdb", "glob", "sniff_csv", "getenv",
        "duckdb_settings", "duckdb_secrets", "duckdb_logs", "current_setting", "query", "query_table", "which_secret", "write_log",
        "enable_logging", "copy_database", "import_database", "json_execute_serialized_sql", "add_grammar_extension", "nextval",
        "register_external_resource", "sleep_ms", "pg_sleep", "getvariable", "current_user", "combine", "finalize", "__cast",
        "__internal_decompress_string", "arrow_scan", "pandas_scan", "python_map_function", "seq_scan", "checkpoint", "setseed",
        "inet_client_addr", "pragma_database_size", "test_all_types", "stats", "vector_type",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "sql", ["SELECT {}('x')", "SELECT * FROM {}('x')", "SELECT (SELECT max({}(1)) OVER ())", 'SELECT "{}"(1)']
)
def test_more_than_a_computation_is_refused_wherever_it_stands(name: str, sql: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(sql.format(name))
    assert caught.value.kind == "refused"
    with pytest.raises(QueryError):
        parse(sql.format(name.upper()))
