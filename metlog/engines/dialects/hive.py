"""HiveQL of Hive 2.3 and later: no FILTER, no names of results in GROUP BY, no TRY_CAST (its CAST gives NULL)."""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from metlog.engines.dialects import shared
from metlog.engines.dialects.aliases import (
    expand_aliases,
    filters,
    flat_joins,
    group_all,
    named_subqueries,
    plain_operands,
)
from metlog.engines.dialects.dialect import Dialect, Rule, Unsupported, called, fill
from metlog.engines.dialects.paths import Path
from metlog.engines.dialects.spark import java_format

__all__ = ["HIVE"]

_NAME: Final = "Hive"
_TYPE = exp.DataType.Type
_KEY: Final = re.compile(r"[A-Za-z0-9_:-]+")


def _path(value: exp.Expression, steps: Path) -> exp.Expression:
    text = "$"
    for step in steps:
        if isinstance(step, str) and not _KEY.fullmatch(step):
            raise Unsupported(f"a field named {step!r}", _NAME, "its JSON paths take letters, digits, _, - and : only")
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return exp.Anonymous(this="get_json_object", expressions=[value.copy(), exp.Literal.string(text)])


_json = shared.json_path(
    _NAME,
    _path,
    "hive-json",
    "fields->>'key' is get_json_object(fields, '$.key'); another key than a plain one gives no rows and no error.",
)

_STEPS: Final = {
    "second": "CAST(date_format(arg0, 'yyyy-MM-dd HH:mm:ss') AS TIMESTAMP)",
    "minute": "CAST(date_format(arg0, 'yyyy-MM-dd HH:mm:00') AS TIMESTAMP)",
    "hour": "CAST(date_format(arg0, 'yyyy-MM-dd HH:00:00') AS TIMESTAMP)",
    "day": "CAST(to_date(arg0) AS TIMESTAMP)",
    "week": "CAST(date_sub(next_day(to_date(arg0), 'MO'), 7) AS TIMESTAMP)",
    "month": "CAST(concat(date_format(arg0, 'yyyy-MM'), '-01 00:00:00') AS TIMESTAMP)",
    "year": "CAST(concat(date_format(arg0, 'yyyy'), '-01-01 00:00:00') AS TIMESTAMP)",
}  # fmt: skip


def _date_trunc(call: exp.Expression) -> exp.Expression:
    unit = shared.bare(call.expressions[0])
    name = unit.name.lower().removesuffix("s") if isinstance(unit, exp.Literal) else ""
    if name not in _STEPS:
        raise Unsupported(
            f"date_trunc to {name or 'a unit that is not a constant'!r}", _NAME, f"there is {', '.join(_STEPS)}"
        )
    return fill(_STEPS[name], "hive", call.expressions[1])


_trunc = Rule(
    "hive-date-trunc", "Hive's trunc knows months and years only; each step is made of its own functions.", _date_trunc
)

_PARTS: Final = {
    "year": "year(arg0)", "month": "month(arg0)", "week": "weekofyear(arg0)", "day": "day(arg0)", "hour": "hour(arg0)",
    "minute": "minute(arg0)", "second": "second(arg0)", "epoch": "CAST(arg0 AS DOUBLE)",
}  # fmt: skip


def _date_part(call: exp.Expression) -> exp.Expression:
    unit = shared.bare(call.expressions[0])
    name = unit.name.lower() if isinstance(unit, exp.Literal) else ""
    if name not in _PARTS:
        raise Unsupported(f"the part {name or '?'!r} of a time", _NAME, f"there is {', '.join(_PARTS)}")
    return fill(_PARTS[name], "hive", call.expressions[1])


_part = Rule(
    "hive-date-part",
    "extract(hour FROM …) is date_part('HOUR', …) in DuckDB's normal form; Hive has a function for each part.",
    _date_part,
)

_epoch = Rule(
    "hive-epoch",
    "A time cast to DOUBLE is seconds with their fraction; unix_timestamp cuts it off.",
    lambda call: fill("CAST(arg0 AS DOUBLE)", "hive", call.expressions[0]),
)

_now = Rule(
    "hive-current-time",
    "now() and today() under the names that Hive has.",
    lambda call: exp.CurrentDate() if called(call) == "today" else exp.CurrentTimestamp(),
)


def _distinct_from(node: exp.Expression) -> exp.Expression:
    same = fill("COALESCE(arg0 = arg1, arg0 IS NULL AND arg1 IS NULL)", "hive", node.this, node.expression)
    return exp.Not(this=same) if isinstance(node, exp.NullSafeNEQ) else same


_null_safe = Rule(
    "hive-null-safe",
    "IS DISTINCT FROM is unknown to Hive 2.3, and its <=> is not what sqlglot writes.",
    _distinct_from,
    (exp.NullSafeEQ, exp.NullSafeNEQ),
)

_INTEGERS: Final = {_TYPE.TINYINT: 7, _TYPE.SMALLINT: 15, _TYPE.INT: 31, _TYPE.BIGINT: 63}


def _cast(node: exp.Expression) -> exp.Expression:
    to = node.to
    tried = isinstance(node, exp.TryCast)
    value = node.this
    if isinstance(shared.bare(value), exp.Null) or (isinstance(value, exp.Literal) and not value.is_string):
        return exp.Cast(this=value.copy(), to=to.copy()) if tried else node
    if to.this in {_TYPE.VARCHAR, _TYPE.TEXT} and isinstance(value, exp.Column) and value.name in shared.ZONED:
        raise Unsupported(f"a time as text (CAST({value.name} AS VARCHAR))", _NAME, "use strftime")
    if shared.made_text(value):
        number = "CASE WHEN substr(arg0, -1) IN ('d', 'D', 'f', 'F') THEN NULL ELSE CAST(arg0 AS DOUBLE) END"
        if to.this in {_TYPE.DOUBLE, _TYPE.FLOAT}:
            return fill(number, "hive", value)
        if to.this in _INTEGERS:
            bits, kind = _INTEGERS[to.this], to.sql(dialect="hive")
            if to.this == _TYPE.BIGINT:
                return fill(
                    f"CASE WHEN arg0 RLIKE '^[+-]?[0-9]+$' THEN CAST(arg0 AS BIGINT) ELSE CAST(bround({number}) AS BIGINT) END",
                    "hive",
                    value,
                )
            limit = 2**bits
            return fill(
                f"CASE WHEN bround({number}) BETWEEN {-limit} AND {limit - 1} THEN CAST(bround({number}) AS {kind}) END",
                "hive",
                value,
            )
        if not tried:
            return node
    elif to.this in _INTEGERS:
        return exp.Cast(this=fill("bround(arg0)", "hive", value), to=to.copy())
    return exp.Cast(this=value.copy(), to=to.copy()) if tried else node


_casts = Rule(
    "hive-cast",
    "Hive's CAST gives NULL for what is no number, so it stands for TRY_CAST; to a whole number it cuts, and DuckDB rounds.",
    _cast,
    (exp.Cast, exp.TryCast),
)


def _interval(node: exp.Expression) -> exp.Expression:
    number, unit = int(node.this.name), node.args["unit"].name.upper()
    if unit == "WEEK":
        number, unit = number * 7, "DAY"
    if unit in {"MILLISECOND", "MICROSECOND"}:
        raise Unsupported(f"an interval in {unit.lower()}s", _NAME)
    return exp.Interval(this=exp.Literal.string(str(number)), unit=exp.var(unit))


_intervals = Rule(
    "hive-interval", "Hive has intervals from seconds to years, and no weeks.", _interval, (exp.Interval,)
)


def _like(node: exp.Expression) -> exp.Expression:
    pattern = node.expression
    text = pattern.copy()
    if isinstance(pattern, exp.Literal):
        text = exp.Literal.string(pattern.this.replace("\\", "\\\\"))
    elif not isinstance(pattern, exp.Literal):
        raise Unsupported("a LIKE whose pattern is not a constant", _NAME)
    if isinstance(node, exp.ILike):
        found: exp.Expression = exp.Like(
            this=fill("lower(arg0)", "hive", node.this), expression=exp.Literal.string(text.this.lower())
        )
    else:
        found = exp.Like(this=node.this.copy(), expression=text)
    return exp.Paren(this=exp.Not(this=found)) if node.args.get("negate") else found


_likes = Rule(
    "hive-like", "Hive has no ILIKE, and a backslash in a pattern escapes there.", _like, (exp.Like, exp.ILike)
)

_minus_days = Rule(
    "hive-date-minus",
    "A date less a number of days is date_sub in Hive.",
    lambda node: (
        fill("date_sub(arg0, arg1)", "hive", node.this, node.expression)
        if isinstance(node.this, exp.CurrentDate) and isinstance(node.expression, exp.Literal)
        else node
    ),
    (exp.Sub,),
)


def _strftime(call: exp.Expression) -> exp.Expression:
    moment, form = call.expressions
    if not isinstance(form, exp.Literal):
        raise Unsupported("a format of strftime that is not a constant", _NAME)
    return exp.Anonymous(
        this="date_format", expressions=[moment.copy(), exp.Literal.string(java_format(form.this, _NAME))]
    )


_format = Rule("hive-strftime", "Formats are in Java's letters.", _strftime)

_len = Rule(
    "hive-length",
    "length() of DuckDB takes texts and lists; Hive's of lists is size().",
    lambda call: fill(
        "size(arg0)" if call.expressions[0].name == "tokens" else "length(arg0)", "hive", call.expressions[0]
    ),
)

_has = Rule(
    "hive-contains",
    "Hive has no contains(): instr() finds a text, array_contains() a member of a list.",
    lambda call: fill(
        "array_contains(arg0, arg1)" if call.expressions[0].name == "tokens" else "(instr(arg0, arg1) > 0)",
        "hive",
        *call.expressions,
    ),
)

_starts = Rule(
    "hive-starts-with",
    "Hive has no starts_with(): the first letters are compared.",
    lambda call: fill("(substr(arg0, 1, length(arg1)) = arg1)", "hive", *call.expressions),
)


def _extreme(name: str) -> Rule:
    def apply(call: exp.Expression) -> exp.Expression:
        if len(call.expressions) < 2:
            raise Unsupported(f"{name}() of one value", _NAME)
        found = call.expressions[0]
        sign = ">=" if name == "greatest" else "<="
        for other in call.expressions[1:]:
            found = fill(
                f"CASE WHEN arg1 IS NULL OR arg0 {sign} arg1 THEN arg0 WHEN arg0 IS NULL THEN arg1 ELSE arg1 END",
                "hive",
                found,
                other,
            )
        return found

    return Rule(f"hive-{name}", f"{name}() leaves out NULL in DuckDB, and is NULL in Hive when one value is.", apply)


def _ordered(tree: exp.Expression) -> exp.Expression:
    for select in tree.find_all(exp.Select):
        order = select.args.get("order")
        if order is None or any(isinstance(item, exp.Star) for item in select.expressions):
            continue
        names = {item.alias_or_name.lower() for item in select.expressions}
        for column in order.find_all(exp.Column):
            if column.name.lower() not in names:
                raise Unsupported(f"ORDER BY {column.name}, which is not among the results", _NAME, "select it, too")
    return tree


_order = Rule("hive-order", "Hive orders by results only; a column beside them is refused.", _ordered)

HIVE: Final = Dialect(
    name=_NAME,
    sqlglot="hive",
    functions={
        **{
            name: name
            for name in (
                "sum", "avg", "min", "max", "count", "lower", "upper", "abs", "ceil", "floor", "exp", "ln", "log10", "log2", "sqrt",
                "pow", "trim", "ltrim", "rtrim", "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag",
                "lead", "first_value", "last_value", "year", "month", "hour", "minute", "second", "md5", "stddev_samp", "stddev_pop",
                "var_samp", "var_pop", "corr", "round", "sign", "substring", "substr", "repeat", "if", "pi", "reverse", "sha1",
                "array_contains",
            )
        },
        "mean": "avg", "variance": "var_samp", "stddev": "stddev_samp", "ceiling": "ceil", "lcase": "lower", "ucase": "upper",
        "power": "pow",
        "list_contains": "array_contains", "list_has": "array_contains", "array_has": "array_contains", "position": "instr",
        "strpos": "instr", "instr": "instr", "weekofyear": "weekofyear", "week": "weekofyear", "day": "day", "dayofmonth": "day",
        "trunc": "trunc", "count_star": shared.count_star, "text": _json, "json": _json, "date_part": _part, "datepart": _part,
        "date_trunc": _trunc, "datetrunc": _trunc, "epoch": _epoch, "now": _now, "get_current_timestamp": _now,
        "transaction_timestamp": _now, "today": _now, "strftime": _format, "length": _len, "len": _len, "contains": _has,
        "starts_with": _starts, "prefix": _starts, "unnest": shared.unnest, "greatest": _extreme("greatest"), "least": _extreme("least"),
        "timezone": shared.local_time(_NAME, "from_utc_timestamp(arg0, arg1)", "hive"),
    },
    rules=(
        shared.in_subquery(lambda items, item: fill("array_contains(arg0, arg1)", "hive", items, item)),
        shared.moment_text,
        shared.plain_types(
            _NAME,
            {
                _TYPE.JSON: "string", _TYPE.VARCHAR: "string", _TYPE.TEXT: "string", _TYPE.UTINYINT: "smallint", _TYPE.USMALLINT: "int",
                _TYPE.UINT: "bigint", _TYPE.INT128: "decimal(38, 0)", _TYPE.TIMESTAMP: "timestamp", _TYPE.TIMESTAMPNTZ: "timestamp",
                _TYPE.TIMESTAMPTZ: "timestamp",
            },
        ),
        shared.star_only,
        filters,
        _null_safe,
        _casts,
        _intervals,
        _likes,
        _minus_days,
    ),
    finish=(plain_operands, flat_joins, group_all, expand_aliases, named_subqueries, _order),
    last=(shared.dollars(_NAME, comments=True),),
    structure=frozenset({exp.Interval}),
    missing=frozenset(
        {exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.TryCast, exp.Filter, exp.NullSafeEQ, exp.NullSafeNEQ, exp.ILike}
    ),
)  # fmt: skip
"""HiveQL."""
