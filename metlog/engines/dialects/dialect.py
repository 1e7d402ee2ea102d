"""What a dialect is made of: the functions that it has, and rules for what it says in another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlglot import exp, parse_one

from metlog.lake.sql.guard import QueryError

__all__ = ["PREFIX", "STRUCTURE", "Dialect", "Rule", "Unsupported", "arguments", "called", "fill"]

PREFIX: Final = "metlog_fn_"
"""Before the name of each of DuckDB's functions while a query is translated, so that sqlglot reads none of them as its own."""


class Unsupported(QueryError):
    """A construct that an engine lacks, or that is not known to mean the same there."""

    def __init__(self, construct: str, engine: str, hint: str = "") -> None:
        super().__init__(
            f"{engine}: {construct} has no equivalent here that is known to give the same answer"
            + (f" ({hint})" if hint else "")
            + f"; write it in another way, or in {engine}'s own words with --raw",
            "unsupported",
        )


@dataclass(frozen=True)
class Rule:
    """One rewriting. `apply` gets a node of a type in `on`, and gives what stands in its place (the same node: no change).

    For a function, `on` is empty and `apply` gets the call; the rule stands under the function's name in `Dialect.functions`.
    """

    name: str
    reason: str
    apply: Callable[[Any], exp.Expression]
    on: tuple[type[exp.Expression], ...] = ()


@dataclass(frozen=True)
class Dialect:
    """How one engine says what DuckDB says.

    functions: by DuckDB's name, the engine's name, or a Rule. structure: types of nodes that the engine has, beside STRUCTURE.
    missing: those of STRUCTURE that it lacks. rules: for all other nodes, in order. finish: steps over the whole tree, each a Rule;
    last: those after the sources and the condition on services are in it.
    """

    name: str
    sqlglot: str
    functions: Mapping[str, str | Rule]
    rules: tuple[Rule, ...] = ()
    finish: tuple[Rule, ...] = ()
    last: tuple[Rule, ...] = ()
    structure: frozenset[type[exp.Expression]] = frozenset()
    missing: frozenset[type[exp.Expression]] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)

    def has(self, node: exp.Expression) -> bool:
        """Whether the engine has this form of SQL."""
        return type(node) in self.structure or (type(node) in STRUCTURE and type(node) not in self.missing)

    @property
    def all_rules(self) -> list[Rule]:
        """Every rule, each once."""
        of_functions = [rule for rule in self.functions.values() if isinstance(rule, Rule)]
        return list({rule.name: rule for rule in (*of_functions, *self.rules, *self.finish, *self.last)}.values())


STRUCTURE: Final = frozenset(
    {
        exp.Select, exp.From, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.With, exp.CTE,
        exp.Subquery, exp.Table, exp.TableAlias, exp.Identifier, exp.Column, exp.Star, exp.Alias, exp.Join, exp.Union,
        exp.Distinct, exp.Window, exp.WindowSpec, exp.Paren, exp.Literal, exp.Null, exp.Boolean, exp.Case, exp.If,
        exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam, exp.Var, exp.Exists, exp.In, exp.Any, exp.Between, exp.Is,
        exp.Not, exp.And, exp.Or, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ,
        exp.Like, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe, exp.Filter,
        exp.Coalesce, exp.CurrentDate, exp.CurrentTimestamp, exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot,
        exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.IntDiv, exp.ILike,
    }
)  # fmt: skip
"""Forms of SQL that are the same in all engines, or that sqlglot writes as each of them wants it."""


def called(node: exp.Expression) -> str:
    """DuckDB's name of the function that a node calls; empty when it calls none."""
    if isinstance(node, exp.Anonymous) and isinstance(node.this, str) and node.this.lower().startswith(PREFIX):
        return node.this[len(PREFIX) :].lower()
    return ""


def arguments(call: exp.Expression) -> list[exp.Expression]:
    """Copies of a call's arguments."""
    return [argument.copy() for argument in call.expressions]


def fill(template: str, dialect: str, *given: exp.Expression) -> exp.Expression:
    """An expression in the engine's own words, with arguments in the places of `arg0`, `arg1`, ….

    The arguments are nodes, never text: what a user wrote cannot become more than an argument.
    """
    tree = parse_one(template, read=dialect)
    for column in list(tree.find_all(exp.Column)):
        name = column.name
        if name.startswith("arg") and name[3:].isdigit():
            node = exp.Paren(this=given[int(name[3:])].copy())
            if column is tree:
                return node
            column.replace(node)
    return tree
