"""Spark SQL 3.4 and later; tried with 4.x."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from metlog.engines.dialects import shared
from metlog.engines.dialects.dialect import Dialect, Rule, Unsupported, called, fill
from metlog.engines.dialects.paths import Path

__all__ = ["SPARK"]

_NAME: Final = "Spark"
_TYPE = exp.DataType.Type


def _path(value: exp.Expression, steps: Path) -> exp.Expression:
    text = "$"
    for step in steps:
        if isinstance(step, str) and (not step or step == "*" or any(c in step for c in "'?")):
            raise Unsupported(
                f"a field named {step!r}", _NAME, "its JSON paths take no ' or ?, no * alone, no empty name"
            )
        text += f"[{step}]" if isinstance(step, int) else f"['{step}']"
    return exp.Anonymous(this="get_json_object", expressions=[value.copy(), exp.Literal.string(text)])


_json = shared.json_path(
    _NAME,
    _path,
    "json",
    "fields->>'key' is a path $['key'] of get_json_object: in brackets a key may hold dots; several steps are one path.",
)


def _arg_extreme(function: str) -> Rule:
    def apply(call: exp.Expression) -> exp.Expression:
        what, by = call.expressions
        return fill(f"{function}(arg0, CASE WHEN arg0 IS NULL THEN NULL ELSE arg1 END)", "spark", what, by)

    return Rule(
        function.replace("_", "-"),
        "arg_max leaves out rows whose value is NULL; max_by leaves out those whose order is NULL.",
        apply,
    )


_any_value = Rule(
    "any-value",
    "any_value of DuckDB is of values that are not NULL; Spark wants to be told.",
    lambda call: fill("any_value(arg0, true)", "spark", call.expressions[0]),
)

_PARTS: Final = {
    "year": "year(arg0)", "quarter": "quarter(arg0)", "month": "month(arg0)", "week": "weekofyear(arg0)",
    "day": "dayofmonth(arg0)", "hour": "hour(arg0)", "minute": "minute(arg0)", "second": "second(arg0)",
    "epoch": "(unix_micros(arg0) / 1000000D)",
}  # fmt: skip


def _date_part(call: exp.Expression) -> exp.Expression:
    unit = shared.bare(call.expressions[0])
    name = unit.name.lower() if isinstance(unit, exp.Literal) else ""
    if name not in _PARTS:
        raise Unsupported(f"the part {name or '?'!r} of a time", _NAME, f"there is {', '.join(_PARTS)}")
    return fill(_PARTS[name], "spark", call.expressions[1])


_part = Rule(
    "date-part",
    "extract(hour FROM …) is date_part('HOUR', …) in DuckDB's normal form; Spark's gives other types.",
    _date_part,
)

_UNITS: Final = frozenset(
    {"microsecond", "millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year"}
)


def _date_trunc(call: exp.Expression) -> exp.Expression:
    unit = shared.bare(call.expressions[0])
    name = unit.name.lower().removesuffix("s") if isinstance(unit, exp.Literal) else ""
    if name not in _UNITS:
        raise Unsupported(f"date_trunc to {name or 'a unit that is not a constant'!r}", _NAME)
    return exp.Anonymous(this="date_trunc", expressions=[exp.Literal.string(name.upper()), call.expressions[1].copy()])


_trunc = Rule(
    "date-trunc",
    "Spark gives NULL, not an error, for a unit that it does not know: only known ones go there.",
    _date_trunc,
)

_epoch = Rule(
    "epoch",
    "epoch(moment) has the fraction of the second; unix_timestamp cuts it off.",
    lambda call: fill("(unix_micros(arg0) / 1000000D)", "spark", call.expressions[0]),
)

_first = Rule(
    "current-time",
    "now(), today() and get_current_timestamp() under the names that every engine has.",
    lambda call: exp.CurrentDate() if called(call) == "today" else exp.CurrentTimestamp(),
)


def _percentile(call: exp.Expression) -> exp.Expression:
    value, share = call.expressions
    if shared.number_of(share) is None and not isinstance(shared.bare(share), exp.Literal):
        raise Unsupported("a quantile whose share is not one constant number", _NAME)
    return fill("percentile(arg0, arg1)", "spark", value, share)


_quantile = Rule(
    "quantile", "quantile_cont(x, p) interpolates as percentile(x, p) does; percentile_approx does not.", _percentile
)


def _shift(node: exp.Expression) -> exp.Expression:
    name = "shiftleft" if isinstance(node, exp.BitwiseLeftShift) else "shiftrightunsigned"
    return fill(f"{name}(arg0, CAST(arg1 AS INT))", "spark", node.this, node.expression)


_shifts = Rule(
    "shift",
    "Spark has functions for << and >>; the right one without sign, as UBIGINT is kept in the bits of BIGINT.",
    _shift,
    (exp.BitwiseLeftShift, exp.BitwiseRightShift),
)

_ones = Rule(
    "all-ones",
    "18446744073709551615, all 64 bits, is -1 in the bits of BIGINT.",
    lambda node: exp.Paren(this=exp.Neg(this=exp.Literal.number(1))) if node.name == "18446744073709551615" else node,
    (exp.Literal,),
)


def _like(node: exp.Expression) -> exp.Expression:
    pattern = node.expression
    if isinstance(pattern, exp.Literal):
        if "\\" not in pattern.this:
            return node
        new = node.copy()
        new.set("expression", exp.Literal.string(pattern.this.replace("\\", "\\\\")))
        return new
    new = node.copy()
    new.set("expression", fill(r"replace(arg0, '\\', '\\\\')", "spark", pattern))
    return new


_likes = Rule(
    "like", "A backslash in a pattern escapes in Spark, and is itself in DuckDB.", _like, (exp.Like, exp.ILike)
)

_SUFFIX: Final = "CASE WHEN right(arg0, 1) IN ('d', 'D', 'f', 'F') AND lower(arg0) NOT LIKE '%inf' THEN NULL ELSE {0}(arg0 AS DOUBLE) END"


def _cast(node: exp.Expression) -> exp.Expression:
    to = node.to
    how = "try_cast" if isinstance(node, exp.TryCast) else "cast"
    if isinstance(shared.bare(node.this), exp.Null) or (isinstance(node.this, exp.Literal) and not node.this.is_string):
        return node
    if (made := shared.made_text(node.this)) and to.this in {_TYPE.DOUBLE, _TYPE.FLOAT} and how == "try_cast":
        return fill(_SUFFIX.format(how), "spark", node.this)
    if shared.whole_number(to):
        if made:
            if how == "cast":
                return node
            kind = to.sql(dialect="spark")
            return fill(
                f"coalesce(try_cast(arg0 AS {kind}), try_cast(rint({_SUFFIX.format('try_cast')}) AS {kind}))",
                "spark",
                node.this,
            )
        new = node.copy()
        new.set("this", fill("bround(arg0)", "spark", node.this))
        return new
    if to.this in {_TYPE.VARCHAR, _TYPE.TEXT} and isinstance(node.this, exp.Column) and node.this.name in shared.ZONED:
        raise Unsupported(f"a time as text (CAST({node.this.name} AS VARCHAR))", _NAME, "use strftime")
    return node


_casts = Rule(
    "cast",
    "To a whole number DuckDB rounds, half to even, and Spark cuts; a text with d or f behind it is a number in Java, and none in DuckDB.",
    _cast,
    (exp.Cast, exp.TryCast),
)

_FORMATS: Final = {
    "%Y": "yyyy", "%m": "MM", "%d": "dd", "%H": "HH", "%M": "mm", "%S": "ss", "%f": "SSSSSS", "%j": "DDD", "%y": "yy",
    "%b": "MMM", "%B": "MMMM", "%a": "EEE", "%A": "EEEE", "%%": "%", "%F": "yyyy-MM-dd", "%T": "HH:mm:ss",
}  # fmt: skip


def java_format(text: str, engine: str) -> str:
    """A format of strftime in Java's letters."""
    found, at = "", 0
    while at < len(text):
        if text[at] == "%":
            code = text[at : at + 2]
            if code not in _FORMATS:
                raise Unsupported(f"{code} in a format of strftime", engine)
            found += _FORMATS[code]
            at += 2
        else:
            letter = text[at]
            found += f"'{letter}'" if letter.isalpha() else "''" if letter == "'" else letter
            at += 1
    return found


def _strftime(call: exp.Expression) -> exp.Expression:
    moment, form = call.expressions
    if isinstance(moment, exp.Literal):
        moment, form = form, moment
    if not isinstance(form, exp.Literal):
        raise Unsupported("a format of strftime that is not a constant", _NAME)
    return fill("date_format(arg0, arg1)", "spark", moment, exp.Literal.string(java_format(form.this, _NAME)))


_format = Rule("strftime", "Formats are in Java's letters; a code that has none there is refused.", _strftime)


def _length(call: exp.Expression) -> exp.Expression:
    value = call.expressions[0]
    if isinstance(value, exp.Column) and value.name.lower() == "tokens":
        return fill("size(arg0)", "spark", value)
    return fill("char_length(arg0)", "spark", value)


_len = Rule("length", "length() of DuckDB takes texts and lists; Spark's of lists is size().", _length)

_has = Rule(
    "contains",
    "contains() of DuckDB takes texts and lists; Spark's of lists is array_contains().",
    lambda call: fill(
        "array_contains(arg0, arg1)" if call.expressions[0].name == "tokens" else "contains(arg0, arg1)",
        "spark",
        *call.expressions,
    ),
)

_bracket = Rule(
    "list-element",
    "An element of a list that is not there is NULL in DuckDB and an error in Spark; sqlglot counts from 0, DuckDB from 1.",
    lambda node: fill("get(arg0, arg1)", "spark", node.this, node.expressions[0]),
    (exp.Bracket,),
)

SPARK: Final = Dialect(
    name=_NAME,
    sqlglot="spark",
    functions={
        **{
            name: name
            for name in (
                "sum", "avg", "min", "max", "count", "bit_or", "bit_and", "bit_xor", "bool_or", "bool_and", "lower", "upper",
                "abs", "ceil", "floor", "exp", "ln", "log10", "log2", "sqrt", "pow", "power", "nullif", "greatest", "least",
                "trim", "ltrim", "rtrim", "replace", "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile",
                "lag", "lead", "first_value", "last_value", "nth_value", "year", "quarter", "month", "hour", "minute", "second",
                "md5", "bit_count", "median", "stddev", "stddev_samp", "stddev_pop", "var_samp", "var_pop", "corr", "round",
                "sign", "substring", "substr", "left", "right", "repeat", "split_part", "if", "mod", "pi", "concat_ws",
                "array_contains", "lpad", "rpad", "reverse", "sha1",
            )
        },
        "mean": "avg", "variance": "var_samp", "ceiling": "ceil", "lcase": "lower", "ucase": "upper",
        "list_contains": "array_contains", "list_has": "array_contains", "array_has": "array_contains",
        "starts_with": "startswith", "ends_with": "endswith", "prefix": "startswith", "suffix": "endswith",
        "regexp_matches": "regexp_like", "position": "instr", "strpos": "instr", "instr": "instr",
        "approx_count_distinct": "approx_count_distinct", "weekofyear": "weekofyear", "week": "weekofyear",
        "day": "dayofmonth", "dayofmonth": "dayofmonth", "dayofyear": "dayofyear", "trunc": "trunc",
        "count_star": shared.count_star, "text": _json, "json": _json, "arg_max": _arg_extreme("max_by"),
        "max_by": _arg_extreme("max_by"), "arg_min": _arg_extreme("min_by"), "min_by": _arg_extreme("min_by"),
        "any_value": _any_value, "date_part": _part, "datepart": _part, "date_trunc": _trunc, "datetrunc": _trunc,
        "epoch": _epoch, "now": _first, "get_current_timestamp": _first, "transaction_timestamp": _first, "today": _first,
        "quantile_cont": _quantile, "strftime": _format, "length": _len, "len": _len, "contains": _has, "unnest": shared.unnest,
        "timezone": shared.local_time(_NAME, "from_utc_timestamp(arg0, arg1)", "spark"),
    },
    rules=(
        shared.in_subquery(lambda items, item: fill("array_contains(arg0, arg1)", "spark", items, item)),
        shared.moment_text,
        shared.plain_types(
            _NAME,
            {
                _TYPE.JSON: "string", _TYPE.UTINYINT: "smallint", _TYPE.USMALLINT: "int", _TYPE.UINT: "bigint",
                _TYPE.UBIGINT: "bigint", _TYPE.INT128: "decimal(38, 0)", _TYPE.TIMESTAMP: "timestamp", _TYPE.TIMESTAMPNTZ: "timestamp",
            },
        ),
        shared.star_only,
        _shifts,
        _ones,
        _likes,
        _casts,
        _bracket,
    ),
    last=(shared.dollars(_NAME),),
    structure=frozenset({exp.Interval, exp.Except, exp.Intersect, exp.Offset, exp.Bracket}),
)  # fmt: skip
"""Spark SQL."""
