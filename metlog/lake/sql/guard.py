"""What a query may say: the parsed tree is checked against what is known to be safe, and given its condition on `date`.

The tree is DuckDB's own (`json_serialize_sql`), so that what is checked is what runs; that function knows SELECT
statements only. Whatever this module does not know is refused, not let through.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

import duckdb

from metlog.errors import MetlogError
from metlog.lake.sql.fields import Promotable, promotable
from metlog.lake.sql.functions import ALLOWED, TABLES
from metlog.lake.sql.pruning import Bound, Pruner, parameters
from metlog.lake.sql.tree import Tree, nodes, parser, read, write
from metlog.plugins.conversion import nearest
from metlog.values import whole_number

__all__ = ["VIEWS", "Parsed", "QueryError", "expressions", "normal_form", "parse"]

VIEWS: Final = ("events", "arrivals", "delivery", "files")
"""The tables that a query can name."""


_NODES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_TABLES: Final = frozenset(
    {
        "BASE_TABLE",
        "SUBQUERY",
        "JOIN",
        "TABLE_FUNCTION",
        "EXPRESSION_LIST",
        "EMPTY",
        "EMPTY_FROM",
        "COLUMN_DATA",
        "SHOW_REF",
    }
)
_MODIFIERS: Final = frozenset(
    {
        "ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER",
        "ORDER_DEFAULT", "ASCENDING", "DESCENDING",
    }
)  # fmt: skip
_EXPRESSIONS: Final = frozenset(
    {
        "AGGREGATE", "BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT",
        "DEFAULT", "FUNCTION", "LAMBDA", "LAMBDA_REF", "OPERATOR", "PARAMETER", "POSITIONAL_REFERENCE", "STAR",
        "SUBQUERY", "TYPE", "WINDOW",
    }
)  # fmt: skip


class QueryError(MetlogError):
    """A query that was refused or failed.

    `kind` is `syntax` (cannot be understood), `refused` (not allowed here), `failed` (at run time), `timeout`,
    `cancelled`, `memory` or `unsupported` (another engine lacks the construct); `line` and `column` count from 1 where the place is known.
    """

    def __init__(self, message: str, kind: str = "refused", position: int | None = None, sql: str = "") -> None:
        self.kind = kind
        self.message = message
        self.line: int | None = None
        self.column: int | None = None
        if position is not None and sql:
            before = sql.encode()[:position].decode(errors="ignore")  # DuckDB counts bytes
            self.line = before.count("\n") + 1
            self.column = len(before) - (before.rfind("\n") + 1) + 1
        where = f"line {self.line}, column {self.column}: " if self.line is not None else ""
        super().__init__(where + message)

    @classmethod
    def placed(cls, message: str, kind: str, line: int | None, column: int | None) -> QueryError:
        """An error whose place is known already."""
        where = f"line {line}, column {column}: " if line is not None else ""
        error = cls(where + message, kind)
        error.message, error.line, error.column = message, line, column
        return error


@dataclass(frozen=True)
class Parsed:
    """A query that was found safe. `sql` is what to run, `parameters` the names of its values; `days` holds, a reference
    to `events` or `files` each, the bounds on its day."""

    sql: str
    tables: frozenset[str]
    parameters: frozenset[str]
    rewritten: bool
    days: Sequence[Sequence[Bound]]
    _tree: Tree = field(repr=False, compare=False)
    _ctes: frozenset[str] = field(repr=False, compare=False)

    @cached_property
    def promotable(self) -> Promotable | None:
        """The same query over promoted columns; made when it is first asked for, since to check a query does not need it."""
        if "events" not in self.tables:
            return None
        with _refusing():
            return promotable(self._tree, self._ctes)


@lru_cache(maxsize=1)
def _taken() -> frozenset[str]:
    """The names of tables and views that exist in every engine."""
    rows = (
        parser()
        .cursor()
        .execute("SELECT lower(view_name) FROM duckdb_views() UNION SELECT lower(table_name) FROM duckdb_tables()")
        .fetchall()
    )
    return frozenset(row[0] for row in rows)


def parse(sql: str, *, views: Iterable[str] = VIEWS) -> Parsed:
    """Checks a query and adds to each condition on `timestamp` what it means for `date`.

    Raises QueryError: `syntax` when it cannot be parsed, `refused` when it is more than one SELECT over the views.
    """
    return (_parse_known if len(sql) <= _REMEMBERED else _parse)(sql, frozenset(views))


def normal_form(sql: str, change: Callable[[Tree], None] = lambda _: None) -> str:
    """One SELECT as DuckDB itself writes it: every operand in parentheses, every shorthand by its full name.

    So no other parser's idea of precedence decides what a query means. `change` is called with each node of the tree before.
    Raises QueryError, `syntax` or `refused`.
    """
    tree = _statement(sql)
    for node in nodes(tree):
        change(node)
    return write(tree)


_REMEMBERED: Final = 4096
"""Characters of a query that is remembered: a page or a report asks the same ones again and again."""


def _parse(sql: str, views: frozenset[str]) -> Parsed:
    with _refusing():
        tree = _statement(sql)
        checker = _Checker(sql, views)
        checker.collect(tree)
        checker.visit(tree)
        pruner = Pruner(checker.ctes)
        pruner.walk(tree["node"])
        text = write(tree) if pruner.changed else sql
        names = frozenset(str(parameter["identifier"]) for parameter in parameters(tree))
    return Parsed(text, frozenset(checker.used), names, pruner.changed, pruner.days, tree, frozenset(checker.ctes))


@contextmanager
def _refusing() -> Iterator[None]:
    """What a query cannot be handled for is a QueryError."""
    try:
        yield
    except RecursionError:
        raise QueryError("the query is nested too deeply") from None
    except duckdb.Error as error:
        raise QueryError(f"the query cannot be parsed: {error}", "syntax") from error


_parse_known: Final = lru_cache(maxsize=256)(_parse)


def expressions(trees: Sequence[Tree], values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Expressions of a parsed query as one query, a column each, with the values of their parameters; for `execute`."""
    columns = copy.deepcopy([*trees])
    given = []
    for number, parameter in enumerate(parameters(columns), 1):
        given.append(values.get(str(parameter["identifier"])))
        parameter["identifier"] = str(number)
    statement = read("SELECT 1")["statements"][0]
    statement["node"]["select_list"] = columns
    statement["named_param_map"] = [{"key": str(n), "value": n} for n in range(1, len(given) + 1)]
    return write(statement), given


def _statement(sql: str) -> Tree:
    if "\x00" in sql:
        raise QueryError("a query has no NUL characters", "syntax")
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        before = sql[: error.start]
        said = "this is no character: the query is not UTF-8"
        raise QueryError(said, "syntax", len(before.encode()), before or " ") from None
    found = read(sql)
    if found.get("error"):
        position = whole_number(str(found.get("position", "")))
        message = str(found.get("error_message", "cannot be parsed"))
        if found.get("error_type") == "parser":
            raise QueryError(message, "syntax", position, sql)
        if "Only SELECT" in message:
            raise QueryError("only one SELECT statement is allowed here (PIVOT, EXPLAIN, COPY, SET … are not)")
        raise QueryError(message, "syntax")
    statements = found["statements"]
    if len(statements) != 1:
        raise QueryError(
            f"one SELECT statement is allowed here, not {len(statements)}" if statements else "the query is empty",
            "refused",
        )
    statement: Tree = statements[0]
    return statement


class _Checker:
    """Walks the whole tree; a form that it does not know is refused."""

    def __init__(self, sql: str, views: frozenset[str]) -> None:
        self.sql = sql
        self.views = views
        self.ctes: dict[str, Tree] = {}
        self.used: set[str] = set()
        self.catalog = _taken()

    def refuse(self, message: str, at: Mapping[str, Any] | None = None) -> QueryError:
        place = (at or {}).get("query_location")
        known = isinstance(place, int) and place < len(self.sql.encode())
        return QueryError(message, "refused", place if known else None, self.sql)

    def collect(self, tree: Tree) -> None:
        """Names of all common table expressions: plain names that hide nothing, so that their scope does not matter."""
        for node in nodes(tree):
            cte_map = node.get("cte_map")
            if not isinstance(cte_map, dict):
                continue
            for entry in cte_map.get("map") or []:
                name = str(entry.get("key", "")).lower()
                taken = name in self.views or name in self.catalog or name in self.ctes or name.startswith("metlog_")
                if taken or not name.isidentifier():
                    raise self.refuse(f"WITH {name!r}: this name is taken or not a plain one; choose another")
                value = entry.get("value") or {}
                self.ctes[name] = {} if value.get("aliases") else value.get("query_node") or value.get("query") or {}

    def visit(self, value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                self.visit(item)
            return
        if not isinstance(value, dict):
            return
        kind = value.get("type")
        if isinstance(kind, str):
            if "class" in value:
                self.expression(value)
            elif "cte_map" in value:
                if kind not in _NODES:
                    raise self.refuse(f"only SELECT is allowed here, also inside WITH (found {kind})", value)
            elif "sample" in value and "alias" in value:
                self.table(value, kind)
            elif kind not in _MODIFIERS:
                raise self.refuse(f"this form of query is not available here ({kind})", value)
        for item in value.values():
            self.visit(item)

    def table(self, ref: Tree, kind: str) -> None:
        if kind not in _TABLES:
            raise self.refuse(f"this kind of table is not available here ({kind})", ref)
        if kind == "SHOW_REF":
            if ref.get("show_type") not in {"DESCRIBE", "SUMMARY"} or ref.get("query") is None:
                raise self.refuse("SHOW is not available here; DESCRIBE events is", ref)
        elif kind == "BASE_TABLE":
            path = (ref.get("qualified_name") or {}).get("path") or [ref.get("table_name")]
            name = str(path[-1])
            if len(path) != 1 or ref.get("schema_name") or ref.get("catalog_name") or ref.get("at_clause"):
                raise self.refuse(f"table {'.'.join(map(str, path))!r} is not available; there is {self.known()}", ref)
            if name.lower() not in self.views and name.lower() not in self.ctes:
                raise self.refuse(f"table {name!r} is not available; there is {self.known()}", ref)
            self.used.add(name.lower())
        elif kind == "TABLE_FUNCTION":
            function = ref.get("function") or {}
            name = str(function.get("function_name", "?")).lower()
            if name not in TABLES or not _unqualified(function):
                raise self.refuse(f"table function {name!r} is not available here", function)

    def expression(self, node: Tree) -> None:
        if node["class"] not in _EXPRESSIONS:
            raise self.refuse(f"this kind of expression is not available here ({node['class']})", node)
        if node["class"] not in {"FUNCTION", "WINDOW", "AGGREGATE"}:
            return
        name = str(node.get("function_name", "?")).lower()
        if not _unqualified(node):
            raise self.refuse(f"function {name!r} is to be called by its name alone, as {name}(…)", node)
        if name not in ALLOWED and name not in TABLES:  # one that stands in FROM is in the tree as a call, too
            near = nearest(name, ALLOWED, cutoff=0.7)
            hint = f"; did you mean {near!r}?" if near else ""
            raise self.refuse(f"function {name!r} is not available here{hint}", node)

    def known(self) -> str:
        return ", ".join(sorted(self.views))


def _unqualified(function: Mapping[str, Any]) -> bool:
    path = (function.get("qualified_name") or {}).get("path") or []
    return len(path) <= 1 and not function.get("schema") and not function.get("catalog")
