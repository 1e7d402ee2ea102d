"""Rules that several dialects need."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sqlglot import exp

from metlog.engines.dialects.dialect import PREFIX, Rule, Unsupported, called, fill
from metlog.engines.dialects.paths import Path, read_path

__all__ = [
    "INTERVALS", "ZONED", "bare", "count_star", "dollars", "fold", "in_subquery", "json_path", "local_time", "made_text", "moment_text",
    "number_of", "path_of",
    "plain_types", "star_only", "unnest", "whole_number",
]  # fmt: skip

INTERVALS: Final = {
    "to_years": "YEAR", "to_months": "MONTH", "to_weeks": "WEEK", "to_days": "DAY", "to_hours": "HOUR",
    "to_minutes": "MINUTE", "to_seconds": "SECOND", "to_milliseconds": "MILLISECOND", "to_microseconds": "MICROSECOND",
}  # fmt: skip

ZONED: Final = frozenset({"timestamp", "received_at", "claimed_timestamp"})


def bare(node: exp.Expression) -> exp.Expression:
    """A node without the parentheses and casts around it."""
    while isinstance(node, (exp.Paren, exp.Cast)) or (called(node) == "trunc" and len(node.expressions) == 1):
        node = node.expressions[0] if called(node) == "trunc" else node.this
    return node


def number_of(node: exp.Expression) -> int | None:
    """The whole number that an expression spells; None when it is none."""
    sign = 1
    node = bare(node)
    if isinstance(node, exp.Neg):
        sign, node = -1, bare(node.this)
    if isinstance(node, exp.Literal):
        try:
            number = float(node.this)
        except ValueError:
            return None
        return sign * int(number) if number.is_integer() else None
    return None


def fold(tree: exp.Expression, engine: str) -> exp.Expression:
    """Constants that DuckDB's normal form spells as expressions: `INTERVAL 1 DAY` is `to_days(CAST(trunc(CAST(1 AS DOUBLE)) AS INTEGER))`
    there, and the day of a constant time is a cast. Engines prune partitions by constants only."""
    for node in list(tree.find_all(exp.Anonymous)):
        unit = INTERVALS.get(called(node))
        if unit is not None:
            number = number_of(node.expressions[0])
            if number is None:
                raise Unsupported(f"an interval whose length is not a whole number ({called(node)})", engine)
            node.replace(exp.Interval(this=exp.Literal.string(str(number)), unit=exp.var(unit)))
    for node in list(tree.find_all(exp.Cast)):
        moment = bare(node)
        if node.to.this == exp.DataType.Type.DATE and node is not moment and _is_moment(node.this):
            node.this.replace(exp.Literal.string(str(moment.this)[:10]))
    return tree


def _is_moment(node: exp.Expression) -> bool:
    while isinstance(node, (exp.Paren, exp.Cast)):
        if isinstance(node, exp.Cast) and isinstance(node.this, exp.Literal):
            return (
                node.this.is_string
                and node.to.this == exp.DataType.Type.TIMESTAMPTZ
                and _BOUND.fullmatch(node.this.this) is not None
            )
        node = node.this
    return False


_BOUND: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")
"""A time in UTC as `bind` writes it."""


count_star: Final = Rule(
    "count-star",
    "DuckDB's normal form of count(*) is a function of its own, count_star().",
    lambda _: exp.Count(this=exp.Star(), big_int=True),
)


def path_of(call: exp.Expression, engine: str) -> tuple[exp.Expression, Path]:
    """What a JSON function looks into, and where: `fields->'a'->>'b'` is one path, a then b."""
    value, where = call.expressions
    found = bare(where)
    if isinstance(found, exp.Literal):
        steps = read_path(found.this if found.is_string else int(found.this))
    elif (number := number_of(where)) is not None:
        steps = read_path(number)
    else:
        raise Unsupported("a JSON path that is not a constant", engine)
    inner = bare(value)
    before = inner.args.get("metlog_path")
    if before is not None:
        return inner.args["metlog_value"], [*before, *steps]
    return value, steps


def json_path(engine: str, spell: Callable[[exp.Expression, Path], exp.Expression], name: str, reason: str) -> Rule:
    """The rule of `->` and `->>`: `spell` writes a value and a path as the engine does."""

    def apply(call: exp.Expression) -> exp.Expression:
        value, steps = path_of(call, engine)
        found = spell(value, steps)
        # A step further in is one path with this one: `path_of` reads them back.
        found.set("metlog_path", steps)
        found.set("metlog_value", value)
        return found

    return Rule(name, reason, apply)


def made_text(node: exp.Expression) -> bool:
    """Whether an expression is a text for certain: out of JSON, or a function of texts."""
    node = node.this if isinstance(node, exp.Paren) else node
    if isinstance(node, exp.Paren):
        return made_text(node)
    if node.args.get("metlog_path") is not None:
        return True
    if isinstance(node, exp.Coalesce):
        return made_text(node.this) or any(made_text(item) for item in node.expressions)
    if isinstance(node, exp.Literal):
        return bool(node.is_string)
    return isinstance(node, exp.DPipe) or (
        isinstance(node, exp.Column) and node.name.lower() in {"payload", "fields", "type", "logger", "hostname"}
    )


def whole_number(node: exp.Expression) -> bool:
    """Whether a type is one of whole numbers."""
    kind = node.this if isinstance(node, exp.DataType) else None
    return kind in exp.DataType.INTEGER_TYPES or kind in {exp.DataType.Type.UBIGINT, exp.DataType.Type.INT128}


def local_time(engine: str, template: str, dialect: str) -> Rule:
    """`timezone(zone, time)`: the local time of a moment. The other way, of a local time, has the same name."""

    def apply(call: exp.Expression) -> exp.Expression:
        zone, moment = call.expressions
        if _local(moment, call, set()):
            raise Unsupported("timezone() of a time that is local already", engine)
        found = fill(template, dialect, moment, zone)
        found.set("metlog_local", True)
        return found

    return Rule(
        "timezone",
        "timezone(zone, moment) of DuckDB is unknown elsewhere; sessions are in UTC, so that the function for it takes a UTC time.",
        apply,
    )


def _local(node: exp.Expression, call: exp.Expression, seen: set[str]) -> bool:
    """Whether a time is local: made by timezone(), a cast to TIMESTAMP, or a column of such a one."""
    for found in node.dfs():
        if found.args.get("metlog_local") or called(found) == "timezone":
            return True
        if isinstance(found, exp.Cast) and found.to.this in _LOCAL_TYPES:
            return True
        if isinstance(found, exp.Column) and found.name.lower() not in ZONED | seen:
            name = found.name.lower()
            mine = call.find_ancestor(exp.Alias)
            for alias in call.root().find_all(exp.Alias):
                other = alias.alias.lower() == name and alias is not mine and not _in(alias, mine)
                if other and _local(alias.this, call, seen | {name}):
                    return True
    return False


_LOCAL_TYPES: Final = frozenset({exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ, exp.DataType.Type.DATE})


def _in(alias: exp.Expression, mine: exp.Expression | None) -> bool:
    """Whether an alias stands in the same SELECT as the one that is looked at, or behind its UNION: it names a result, not a source."""
    if mine is None:
        return False
    own, other = mine.find_ancestor(exp.Select), alias.find_ancestor(exp.Select)
    return own is other


def in_subquery(has_array: Callable[[exp.Expression, exp.Expression], exp.Expression]) -> Rule:
    """`x IN (SELECT …)` and `x = ANY(list)`."""

    def apply(node: exp.Expression) -> exp.Expression:
        if not isinstance(node.expression, exp.Any):
            return node
        query = node.expression.this
        inner = query.this if isinstance(query, exp.Subquery) else query
        if isinstance(inner, exp.Select) and len(inner.expressions) == 1:
            made = inner.expressions[0]
            if isinstance(made, exp.Anonymous) and made.this == _UNNEST:
                return has_array(made.expressions[0], node.this)
            return exp.In(this=node.this, query=exp.Subquery(this=inner))
        if isinstance(inner, exp.Query):
            return exp.In(this=node.this, query=exp.Subquery(this=inner))
        return node

    return Rule(
        "in-subquery",
        "DuckDB's normal form of IN (SELECT …) and of = ANY(list) is = ANY(SELECT …), which other engines do not take.",
        apply,
        (exp.EQ,),
    )


_UNNEST: Final = f"{PREFIX}unnest"
unnest: Final = Rule(
    "unnest",
    "A list in ANY(…) is unnested by DuckDB's normal form; the rule in-subquery takes it from there.",
    lambda call: exp.Anonymous(this=_UNNEST, expressions=[item.copy() for item in call.expressions]),
)


def _moment_text(node: exp.Expression) -> exp.Expression:
    sides = [node.this, node.expression]
    for column, text in (sides, sides[::-1]):
        if not isinstance(column, exp.Column) or not isinstance(text, exp.Literal) or not text.is_string:
            continue
        name = column.name.lower()
        if name in ZONED or name == "date":
            new = node.copy()
            kind = "date" if name == "date" else "timestamptz"
            new.set("expression" if text is node.expression else "this", exp.cast(text.copy(), kind))
            return new
    return node


moment_text: Final = Rule(
    "moment-text",
    "A text beside a column of times is compared as text by some engines; DuckDB reads it as a time (UTC), so it is cast.",
    _moment_text,
    (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE),
)


def plain_types(engine: str, types: dict[exp.DataType.Type, str]) -> Rule:
    """Types that the engine calls otherwise, or has not."""

    def apply(node: exp.Expression) -> exp.Expression:
        kind = node.this
        if kind in types:
            return exp.DataType.build(types[kind])
        if kind in _KNOWN_TYPES:
            return node
        raise Unsupported(f"the type {node.sql(dialect='duckdb')}", engine)

    return Rule(
        "types",
        "JSON is a text in the files; unsigned and 128-bit numbers are the next that an engine has, with the same bits up to 64.",
        apply,
        (exp.DataType,),
    )


_KNOWN_TYPES: Final = frozenset(
    {
        exp.DataType.Type.BOOLEAN, exp.DataType.Type.TINYINT, exp.DataType.Type.SMALLINT, exp.DataType.Type.INT,
        exp.DataType.Type.BIGINT, exp.DataType.Type.FLOAT, exp.DataType.Type.DOUBLE, exp.DataType.Type.DECIMAL,
        exp.DataType.Type.VARCHAR, exp.DataType.Type.TEXT, exp.DataType.Type.DATE, exp.DataType.Type.TIMESTAMP,
        exp.DataType.Type.TIMESTAMPTZ,
    }
)  # fmt: skip

star_only: Final = Rule(
    "star",
    "SELECT * gives the columns in the order of the view; EXCLUDE and REPLACE are DuckDB's own.",
    lambda node: node if not any(node.args.values()) else _refuse_star(),
    (exp.Star,),
)


def _refuse_star() -> exp.Expression:
    raise Unsupported("SELECT * with EXCLUDE or REPLACE", "another engine", "name the columns")


def dollars(engine: str, *, comments: bool = False) -> Rule:
    """The rule for servers that look into the text of a statement before it is parsed, inside quotes too.

    comments: they cut off what follows `--`, and take a text that ends with a backslash for one that goes on.
    """
    marks = ("${", "--") if comments else ("${",)
    between = re.compile("|".join(f"(?<={re.escape(mark[0])})(?={re.escape(mark[1])})" for mark in marks))

    def apply(tree: exp.Expression) -> exp.Expression:
        for name in tree.find_all(exp.Identifier):
            if between.search(name.name):
                raise Unsupported(f"a name with {' or '.join(marks)} ({name.name!r})", engine)
        for node in list(tree.find_all(exp.Literal)):
            if node.is_string and between.search(node.this):
                parts = [exp.Literal.string(part) for part in between.split(node.this)]
                node.replace(exp.Anonymous(this="concat", expressions=parts))
        return tree

    return Rule(
        "dollar",
        "${x} in a text is a variable of the server, such as one of its environment, and is put in before the statement is parsed;"
        " Hive cuts comments off at -- without regard to escaped quotes. A text that holds these is put together from parts.",
        apply,
    )
