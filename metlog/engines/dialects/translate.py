"""DuckDB's SQL to another engine's: parsed and written out by DuckDB, then by sqlglot, rule by rule.

The way: DuckDB parses the query and writes it in its normal form, in which each function has a name that nobody else knows. sqlglot
reads that. Values of parameters become literals. Then each node is replaced by what the dialect's tables say, the innermost first;
a node that they do not name ends the translation. So nothing goes to an engine that is not known to mean there what it means in DuckDB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlglot import exp, parse_one
from sqlglot.errors import ErrorLevel, ParseError, UnsupportedError

from metlog.engines.dialects import shared
from metlog.engines.dialects.dialect import PREFIX, Dialect, Rule, Unsupported, called
from metlog.engines.dialects.values import bind
from metlog.lake.sql.guard import QueryError, normal_form, parse
from metlog.lake.sql.loss import DELIVERY

__all__ = ["Sources", "normal", "translate"]

Tree = dict[str, Any]
Params = Mapping[str, Any] | Sequence[Any] | None

_OPERATORS: Final = {"->": "json", "->>": "text", "json_extract": "json", "json_extract_path": "json",
                     "json_extract_string": "text", "json_extract_path_text": "text", "~": "regexp_full_match"}  # fmt: skip


_MOST: Final = {
    **dict.fromkeys(
        (
            "sum", "avg", "mean", "min", "max", "any_value", "bit_or", "bit_and", "bit_xor", "bool_or", "bool_and", "median", "stddev",
            "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop", "trim", "ltrim", "rtrim", "ceil", "ceiling", "floor", "abs",
            "exp", "ln", "sqrt", "length", "len", "epoch", "md5", "sha1", "lower", "upper", "lcase", "ucase", "first_value", "last_value",
            "now", "today", "year", "month", "day", "hour", "minute", "second", "week", "quarter", "approx_count_distinct", "bit_count",
        ),
        1,
    ),
    **dict.fromkeys(
        (
            "arg_max", "arg_min", "max_by", "min_by", "regexp_matches", "quantile_cont", "date_trunc", "datetrunc", "date_part", "datepart",
            "timezone", "text", "json", "contains", "list_contains", "starts_with", "ends_with", "position", "strpos", "strftime", "corr",
        ),
        2,
    ),
}  # fmt: skip
"""The most arguments with which a function means what its namesake elsewhere means: max(x, 3) of DuckDB is a list."""


@dataclass(frozen=True)
class Sources:
    """What stands for the views in an engine: an expression each, parsed in the engine's own dialect.

    tables: by view, SQL that may stand in FROM (a name, or a SELECT in parentheses). A view that is not there is one that the engine lacks.
    """

    tables: Mapping[str, str]

    def has(self, view: str) -> bool:
        """Whether a query may name the view."""
        return view in self.tables or (view == "delivery" and "events" in self.tables)


def translate(
    sql: str, params: Params, dialect: Dialect, sources: Sources, *, loggers: Sequence[str] | None = None
) -> str:
    """One SELECT over the views in the dialect's words, with the parameters' values in it.

    loggers: only events of these services can be seen. Raises QueryError: `syntax` and `refused` as for DuckDB, `unsupported` for a
    construct that the engine lacks.
    """
    parsed = parse(sql)
    for view in parsed.tables & {"events", "arrivals", "delivery", "files"}:
        if not sources.has(view):
            raise Unsupported(f"the view {view!r}", dialect.name, "with --data DIR DuckDB answers it from the folder")
    if loggers is not None and "files" in parsed.tables:
        raise QueryError("the view `files` is not for those who see some services only", "refused")
    tree = bind(normal(parsed.sql, dialect.name), params)
    tree = shared.fold(_with_delivery(tree, dialect.name), dialect.name)
    tree = _rewrite(tree, dialect)
    for rule in dialect.finish:
        tree = rule.apply(tree)
    _name_sources(tree, dialect, sources, loggers)
    for rule in dialect.last:
        tree = rule.apply(tree)
    try:
        return str(tree.sql(dialect=dialect.sqlglot, identify=True, unsupported_level=ErrorLevel.RAISE))
    except UnsupportedError as error:
        raise Unsupported(str(error), dialect.name) from error


def normal(sql: str, engine: str) -> exp.Expression:
    """The query in DuckDB's normal form as sqlglot reads it, each function behind PREFIX."""
    try:
        return parse_one(normal_form(sql, _rename_for(engine)), read="duckdb")
    except ParseError as error:
        place = error.errors[0].get("highlight", "") if error.errors else ""
        raise Unsupported(f"the construct at {place!r}" if place else "a construct of this query", engine) from error
    except RecursionError:
        raise QueryError("the query is nested too deeply") from None


def _rename_for(engine: str) -> Callable[[Tree], None]:
    def rename(node: Tree) -> None:
        kind = node.get("class")
        if kind == "LAMBDA":
            _arrow(node, engine)
            kind = node.get("class")
        if kind in {"FUNCTION", "WINDOW", "AGGREGATE"}:
            name = str(node.get("function_name"))
            if node.get("is_operator") and name not in _OPERATORS:
                return
            renamed = PREFIX + _OPERATORS.get(name, name).lower()
            node["function_name"] = renamed
            node["is_operator"] = False
            if "qualified_name" in node:
                node["qualified_name"]["path"] = [renamed]

    return rename


def _arrow(node: Tree, engine: str) -> None:
    """Inside a function's parentheses DuckDB reads `fields -> 'key'` as a lambda first, and makes JSON of it when it binds it."""
    key = node.get("expr") or {}
    column = node.get("lhs") or {}
    if key.get("class") not in {"CONSTANT", "PARAMETER"} or column.get("class") != "COLUMN_REF":
        raise Unsupported("a lambda (x -> …)", engine)
    call = deepcopy(_call())
    call["function_name"] = "json_extract"
    call["qualified_name"]["path"] = ["json_extract"]
    for argument, found in zip(call["arguments"], (column, key), strict=True):
        argument["expression"] = found
    alias = node.get("alias", "")
    node.clear()
    node.update(call, alias=alias)


@lru_cache(maxsize=1)
def _call() -> Tree:
    import duckdb

    row = duckdb.connect(":memory:").execute("SELECT json_serialize_sql('SELECT json_extract(a, b)')").fetchone()
    tree: Tree = json.loads(row[0] if row else "{}")["statements"][0]["node"]["select_list"][0]
    return tree


def _with_delivery(tree: exp.Expression, engine: str) -> exp.Expression:
    """The view `delivery` is SQL over `events`: its text stands in its place."""
    for table in list(tree.find_all(exp.Table)):
        if table.name.lower() == "delivery" and not table.db:
            alias = table.alias or "delivery"
            table.replace(
                exp.Subquery(this=normal(DELIVERY, engine), alias=exp.TableAlias(this=exp.to_identifier(alias)))
            )
    return tree


def _rewrite(tree: exp.Expression, dialect: Dialect) -> exp.Expression:
    """Each node as the dialect has it, the innermost first."""
    for node in reversed(list(tree.dfs())):
        new = _replacement(node, dialect)
        if new is not node:
            if node is tree:
                tree = new
            else:
                node.replace(new)
    return tree


def _replacement(node: exp.Expression, dialect: Dialect) -> exp.Expression:
    name = called(node)
    if name and len(node.expressions) > _MOST.get(name, len(node.expressions)):
        raise Unsupported(f"{name}() of {len(node.expressions)} arguments", dialect.name)
    if name:
        target = dialect.functions.get(name)
        if target is None:
            raise Unsupported(f"the function {name}", dialect.name)
        if isinstance(target, Rule):
            found = target.apply(node)
        else:
            found = exp.Anonymous(this=target, expressions=[child.copy() for child in node.expressions])
        return found
    for rule in dialect.rules:
        if isinstance(node, rule.on):
            new = rule.apply(node)
            if new is not node:
                return new
    if not dialect.has(node):
        raise Unsupported(_construct(node), dialect.name)
    return node


def _construct(node: exp.Expression) -> str:
    text = node.sql(dialect="duckdb").replace(PREFIX, "")
    return f"{node.key.upper()} ({text if len(text) <= 60 else text[:57] + '…'})"


def _name_sources(tree: exp.Expression, dialect: Dialect, sources: Sources, loggers: Sequence[str] | None) -> None:
    ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        name = table.name.lower()
        if name in ctes or not isinstance(table.this, exp.Identifier):
            continue
        source = sources.tables[name]
        alias = table.alias or name
        found = parse_one(f"SELECT * FROM {source}", read=dialect.sqlglot).find(exp.From)
        if found is None:
            raise QueryError(f"the source of {name!r} cannot be read", "failed")
        inner: exp.Expression = found.this
        if loggers is not None:
            mine = exp.In(
                this=exp.column("logger"), expressions=[exp.Literal.string(text) for text in loggers] or [exp.null()]
            )
            inner = exp.Subquery(this=exp.select("*").from_(inner).where(mine))
        inner.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))
        for key in ("joins", "sample", "pivots"):
            if table.args.get(key):
                inner.set(key, table.args[key])
        table.replace(inner)
