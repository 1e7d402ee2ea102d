"""Names of results used as columns: DuckDB takes them in GROUP BY, HAVING and the SELECT list itself, older engines nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from metlog.engines.dialects.dialect import Rule
from metlog.lake.columns import COLUMNS

__all__ = ["expand_aliases", "filters", "flat_joins", "group_all", "named_subqueries", "plain_operands"]

_COLUMNS: Final[Mapping[str, frozenset[str]]] = {
    "events": frozenset(COLUMNS),
    "arrivals": frozenset({*COLUMNS, "arrival_file", "arrival_row"}),
    "files": frozenset({"date", "kind", "name", "bytes", "events"}),
}
_AGGREGATES: Final = frozenset(
    {
        "sum", "avg", "min", "max", "count", "any_value", "first", "bool_or", "bool_and", "max_by", "min_by", "bit_or", "bit_and",
        "bit_xor", "stddev", "stddev_samp", "stddev_pop", "var_samp", "var_pop", "variance", "percentile", "median", "corr",
    }
)  # fmt: skip


def is_aggregate(node: exp.Expression) -> bool:
    """Whether an expression has an aggregate function outside of a window and of a subquery."""
    for found in node.walk(prune=lambda n: isinstance(n, (exp.Window, exp.Query))):
        if isinstance(found, (exp.Window, exp.Query)):
            continue
        if isinstance(found, exp.AggFunc) or (
            isinstance(found, exp.Anonymous) and str(found.this).lower() in _AGGREGATES
        ):
            return True
    return False


def _names(query: exp.Expression, tree: exp.Expression) -> frozenset[str]:
    """The names of a query's columns."""
    if isinstance(query, (exp.Subquery, exp.Paren)):
        return _names(query.this, tree)
    if isinstance(query, exp.SetOperation):
        return _names(query.left, tree)
    found: set[str] = set()
    for item in query.expressions:
        if isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star)):
            found |= _visible(query, tree)
        else:
            found.add(item.alias_or_name.lower())
    return frozenset(found)


def _visible(select: exp.Expression, tree: exp.Expression) -> frozenset[str]:
    """The names of the columns that a SELECT reads."""
    found: set[str] = set()
    sources = [select.args["from_"].this] if select.args.get("from_") else []
    sources += [join.this for join in select.args.get("joins") or ()]
    for given in sources:
        source = given.this if isinstance(given, exp.Paren) else given  # a join in parentheses
        if isinstance(source, exp.Subquery):
            found |= _names(source.this, tree)
        elif isinstance(source, exp.Table):
            name = source.name.lower()
            cte = next((cte for cte in tree.find_all(exp.CTE) if cte.alias.lower() == name), None)
            found |= _names(cte.this, tree) if cte is not None else _COLUMNS.get(name, frozenset())
    return frozenset(found)


def _expand(tree: exp.Expression) -> exp.Expression:
    for select in list(tree.find_all(exp.Select)):
        visible = _visible(select, tree)
        known: dict[str, exp.Expression] = {}
        for item in select.expressions:
            _replace(item, known, visible)
            if isinstance(item, exp.Alias):
                known.setdefault(item.alias.lower(), item.this)
        for key in ("group", "having", "where"):
            part = select.args.get(key)
            if part is not None:
                _replace(part, known, visible)
    return tree


def _replace(part: exp.Expression, known: Mapping[str, exp.Expression], visible: frozenset[str]) -> None:
    for column in list(part.find_all(exp.Column)):
        name = column.name.lower()
        if not column.table and name in known and name not in visible:
            made = known[name].copy()
            column.replace(made if isinstance(made, (exp.Column, exp.Literal)) else exp.Paren(this=made))


expand_aliases: Final = Rule(
    "aliases",
    "Hive knows no name of a result in GROUP BY, HAVING or beside it in SELECT: what it stands for is written there. A column goes first.",
    _expand,
)


def _group_all(tree: exp.Expression) -> exp.Expression:
    for select in list(tree.find_all(exp.Select)):
        group = select.args.get("group")
        if group is not None and group.args.get("all"):
            keys = [item.unalias().copy() for item in select.expressions if not is_aggregate(item)]
            select.set("group", exp.Group(expressions=keys))
    return tree


group_all: Final = Rule("group-all", "GROUP BY ALL is by all results that hold no aggregate function.", _group_all)


def _filter(node: exp.Expression) -> exp.Expression:
    call, condition = node.this.copy(), node.expression.this
    if isinstance(call, exp.Count) and isinstance(call.this, exp.Star):
        call.set("this", exp.Case().when(condition.copy(), exp.Literal.number(1)))
        return call
    inner = call.expressions[0] if isinstance(call, exp.Anonymous) else call.this
    target = inner.expressions[0] if isinstance(inner, exp.Distinct) else inner
    target.replace(exp.Case().when(condition.copy(), target.copy()))
    return call


filters: Final = Rule(
    "filter",
    "sum(x) FILTER (WHERE c) is sum(CASE WHEN c THEN x END): aggregate functions leave out NULL.",
    _filter,
    (exp.Filter,),
)


def _subqueries(tree: exp.Expression) -> exp.Expression:
    for number, query in enumerate(list(tree.find_all(exp.Subquery)), 1):
        if isinstance(query.parent, (exp.From, exp.Join)) and not query.alias:
            query.set("alias", exp.TableAlias(this=exp.to_identifier(f"metlog_{number}")))
    return tree


named_subqueries: Final = Rule("subquery-name", "A subquery in FROM must have a name in Hive.", _subqueries)


def _operands(tree: exp.Expression) -> exp.Expression:
    for node in list(tree.find_all(exp.SetOperation)):
        for side in ("this", "expression"):
            operand = node.args[side]
            while (
                isinstance(operand, (exp.Subquery, exp.Paren))
                and not operand.alias
                and isinstance(operand.this, (exp.Select, exp.Subquery))
            ):
                operand = operand.this
            if isinstance(operand, exp.Select) and not operand.args.get("order") and not operand.args.get("limit"):
                node.set(side, operand)
    return tree


plain_operands: Final = Rule(
    "union-operand",
    "DuckDB's normal form has the sides of a UNION in parentheses, which not every engine takes.",
    _operands,
)


def _joins(tree: exp.Expression) -> exp.Expression:
    for select in list(tree.find_all(exp.Select)):
        source = select.args.get("from_")
        while source is not None and _wrapped(source.this):
            wrapper = source.this
            inner = wrapper.this
            joins = [*(inner.args.get("joins") or ()), *(wrapper.args.get("joins") or ())]
            inner.set("joins", None)
            wrapper.set("joins", None)
            source.set("this", inner)
            select.set("joins", [*joins, *(select.args.get("joins") or ())])
    return tree


def _wrapped(node: exp.Expression) -> bool:
    """Whether a FROM has parentheses around a join, or around nothing, and not around a query of its own."""
    return (
        isinstance(node, (exp.Subquery, exp.Paren))
        and not node.alias
        and isinstance(node.this, (exp.Table, exp.Subquery))
    )


flat_joins: Final = Rule(
    "join-parens",
    "DuckDB's normal form has each join in parentheses; names inside of them are not seen outside by every engine.",
    _joins,
)
