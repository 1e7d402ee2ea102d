"""ClickHouse's SQL, with the settings under which it follows the standard where its own ways differ."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from metlog.engines.dialects import shared
from metlog.engines.dialects.aliases import flat_joins, plain_operands
from metlog.engines.dialects.dialect import Dialect, Rule, Unsupported, called, fill
from metlog.engines.dialects.paths import Path

__all__ = ["CLICKHOUSE", "SETTINGS"]

_NAME: Final = "ClickHouse"
_TYPE = exp.DataType.Type

SETTINGS: Final = {
    "session_timezone": "UTC",
    "use_hive_partitioning": 1,
    "aggregate_functions_null_for_empty": 1,  # max() of nothing is NULL, not 0
    "join_use_nulls": 1,  # a LEFT JOIN without a match gives NULL, not ''
    "prefer_column_name_to_alias": 1,
    "union_default_mode": "DISTINCT",
    "cast_keep_nullable": 1,
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
}
"""Settings of each query."""


def _path(value: exp.Expression, steps: Path) -> exp.Expression:
    places = [exp.Literal.string(step) if isinstance(step, str) else exp.Literal.number(step + 1) for step in steps]

    def call(name: str) -> exp.Expression:
        return exp.Anonymous(this=name, expressions=[value.copy(), *(place.copy() for place in places)])

    kind = call("JSONType")
    return exp.Anonymous(
        this="multiIf",
        expressions=[
            exp.EQ(this=kind, expression=exp.Literal.string("Null")),
            exp.null(),
            exp.EQ(this=kind.copy(), expression=exp.Literal.string("String")),
            call("JSONExtractString"),
            call("JSONExtractRaw"),
        ],
    )


_json = shared.json_path(
    _NAME,
    _path,
    "clickhouse-json",
    "JSONExtractString gives '' for what is no text, and JSONExtractRaw a text in quotes: which one is asked for depends on JSONType.",
)

_UNITS: Final = frozenset({"second", "minute", "hour", "day", "week", "month", "quarter", "year"})


def _date_trunc(call: exp.Expression) -> exp.Expression:
    unit = shared.bare(call.expressions[0])
    name = unit.name.lower().removesuffix("s") if isinstance(unit, exp.Literal) else ""
    if name not in _UNITS:
        raise Unsupported(f"date_trunc to {name or 'a unit that is not a constant'!r}", _NAME)
    return exp.Anonymous(this="date_trunc", expressions=[exp.Literal.string(name), call.expressions[1].copy()])


_trunc = Rule(
    "clickhouse-date-trunc",
    "date_trunc takes its unit as a text in lower case; weeks begin on Monday in both.",
    _date_trunc,
)


def _timezone(call: exp.Expression) -> exp.Expression:
    moment = call.expressions[1]
    zone = shared.bare(call.expressions[0])
    if not isinstance(zone, exp.Literal):
        raise Unsupported("a time zone that is not a constant", _NAME)
    shifted = exp.Anonymous(this="toTimeZone", expressions=[moment.copy(), zone.copy()])
    offset = exp.Anonymous(this="timeZoneOffset", expressions=[shifted])
    return exp.Anonymous(this="addSeconds", expressions=[moment.copy(), offset])


_local = shared.local_time(_NAME, "arg0", "clickhouse")


def _marked(call: exp.Expression) -> exp.Expression:
    _local.apply(call)  # refuses a time that is local already
    found = _timezone(call)
    found.set("metlog_local", True)
    return found


_zone = Rule(
    "clickhouse-timezone",
    "A time zone is how ClickHouse shows a moment; the local time as a value is the moment moved by the zone's offset.",
    _marked,
)


_PARTS: Final = {
    "year": "toYear", "quarter": "toQuarter", "month": "toMonth", "week": "toISOWeek", "day": "toDayOfMonth", "hour": "toHour",
    "minute": "toMinute", "second": "toSecond",
}  # fmt: skip


def _date_part(call: exp.Expression) -> exp.Expression:
    unit = shared.bare(call.expressions[0])
    name = unit.name.lower() if isinstance(unit, exp.Literal) else ""
    if name == "epoch":
        return _seconds(call.expressions[1])
    if name not in _PARTS:
        raise Unsupported(f"the part {name or '?'!r} of a time", _NAME, f"there is {', '.join(_PARTS)}")
    return exp.Anonymous(this=_PARTS[name], expressions=[call.expressions[1].copy()])


def _seconds(moment: exp.Expression) -> exp.Expression:
    micros = exp.Anonymous(this="toUnixTimestamp64Micro", expressions=[moment.copy()])
    return exp.Paren(this=exp.Div(this=micros, expression=exp.Literal.number("1000000.0")))


_part = Rule(
    "clickhouse-date-part",
    "extract(hour FROM …) is date_part('HOUR', …) in DuckDB's normal form; ClickHouse has toHour(…).",
    _date_part,
)
_epoch = Rule(
    "clickhouse-epoch",
    "epoch(moment) has the fraction of the second; toUnixTimestamp cuts it off.",
    lambda call: _seconds(call.expressions[0]),
)
_now = Rule(
    "clickhouse-current-time",
    "now() of ClickHouse is of whole seconds; now64(6) is not.",
    lambda call: (
        exp.Anonymous(this="today", expressions=[])
        if called(call) == "today"
        else exp.Anonymous(this="now64", expressions=[exp.Literal.number(6)])
    ),
)
_current = Rule(
    "clickhouse-current-timestamp",
    "now64(6) has the fraction of the second, which now() has not.",
    lambda node: (
        exp.Anonymous(this="today", expressions=[])
        if isinstance(node, exp.CurrentDate)
        else exp.Anonymous(this="now64", expressions=[exp.Literal.number(6)])
    ),
    (exp.CurrentTimestamp, exp.CurrentDate),
)

_INTEGERS: Final = {
    _TYPE.TINYINT: "Int8",
    _TYPE.SMALLINT: "Int16",
    _TYPE.INT: "Int32",
    _TYPE.BIGINT: "Int64",
    _TYPE.UBIGINT: "UInt64",
}


def _call(name: str, *given: exp.Expression) -> exp.Expression:
    return exp.Anonymous(this=name, expressions=[item.copy() for item in given])


def _cast(node: exp.Expression) -> exp.Expression:
    to, value = node.to, node.this
    tried = isinstance(node, exp.TryCast)
    if isinstance(shared.bare(value), exp.Null) or (isinstance(value, exp.Literal) and not value.is_string):
        return exp.Cast(this=value.copy(), to=to.copy()) if tried else node
    if shared.made_text(value):
        number = _call("toFloat64OrNull", _call("trimBoth", value))
        if tried and to.this in {_TYPE.DOUBLE, _TYPE.FLOAT}:
            return number
        if tried and to.this in _INTEGERS:
            kind = exp.Literal.string(_INTEGERS[to.this])
            whole = _call(f"to{_INTEGERS[to.this]}OrNull", _call("trimBoth", value))
            return exp.Coalesce(
                this=whole, expressions=[_call("accurateCastOrNull", _call("roundBankers", number), kind)]
            )
        if to.this in {_TYPE.DOUBLE, _TYPE.FLOAT}:
            return _call("toFloat64", value)
        if to.this in _INTEGERS:
            return _call(f"to{_INTEGERS[to.this]}", value)
    elif to.this in _INTEGERS:
        rounded = _call("roundBankers", value) if to.this != _TYPE.UBIGINT else value.copy()
        if tried:
            return _call("accurateCastOrNull", rounded, exp.Literal.string(_INTEGERS[to.this]))
        return exp.Cast(this=rounded, to=to.copy())
    if to.this in {_TYPE.VARCHAR, _TYPE.TEXT} and isinstance(value, exp.Column) and value.name in shared.ZONED:
        raise Unsupported(f"a time as text (CAST({value.name} AS VARCHAR))", _NAME)
    if tried:
        raise Unsupported(f"TRY_CAST to {to.sql(dialect='duckdb')}", _NAME)
    return node


_casts = Rule(
    "clickhouse-cast",
    "TRY_CAST is a function for each type, and a CAST to a type that may be NULL gives NULL for a text that is no number;"
    " to a whole number DuckDB rounds, half to even, and ClickHouse cuts.",
    _cast,
    (exp.Cast, exp.TryCast),
)


def _shift(node: exp.Expression) -> exp.Expression:
    return _call(
        "bitShiftLeft" if isinstance(node, exp.BitwiseLeftShift) else "bitShiftRight", node.this, node.expression
    )


_shifts = Rule(
    "clickhouse-shift", "ClickHouse has functions for << and >>.", _shift, (exp.BitwiseLeftShift, exp.BitwiseRightShift)
)
_bits = Rule(
    "clickhouse-bit-and",
    "ClickHouse has functions for & and |.",
    lambda node: _call("bitAnd" if isinstance(node, exp.BitwiseAnd) else "bitOr", node.this, node.expression),
    (exp.BitwiseAnd, exp.BitwiseOr),
)


def _types(node: exp.Expression) -> exp.Expression:
    if node.this in {_TYPE.TIMESTAMP, _TYPE.TIMESTAMPNTZ, _TYPE.TIMESTAMPTZ}:
        return exp.DataType.build("DateTime64(6, 'UTC')", dialect="clickhouse")
    if node.this == _TYPE.UBIGINT:
        return node
    return _plain.apply(node)


_plain = shared.plain_types(
    _NAME,
    {
        _TYPE.JSON: "text",
        _TYPE.UTINYINT: "smallint",
        _TYPE.USMALLINT: "int",
        _TYPE.UINT: "bigint",
        _TYPE.INT128: "int128",
    },
)
_type = Rule(
    "clickhouse-types",
    "A DateTime has whole seconds; times of events are DateTime64(6), in UTC. JSON is a text in the files.",
    _types,
    (exp.DataType,),
)

_extreme = Rule(
    "clickhouse-arg-max",
    "arg_max leaves out rows whose value is NULL, as argMaxIf with that condition does.",
    lambda call: _call(
        {"arg_max": "argMaxIf", "max_by": "argMaxIf"}.get(called(call), "argMinIf"),
        *call.expressions,
        exp.Not(this=exp.Is(this=call.expressions[0].copy(), expression=exp.null())),
    ),
)


def _round(call: exp.Expression) -> exp.Expression:
    places = shared.number_of(call.expressions[1]) if len(call.expressions) > 1 else 0
    if places is None or not 0 <= places <= 15:
        raise Unsupported("round() to a number of places that is not a constant from 0 to 15", _NAME)
    value, factor = call.expressions[0], exp.Literal.number(f"{10**places}.0")
    scaled = exp.Mul(this=_call("abs", value), expression=factor)
    whole = _call("floor", exp.Add(this=scaled, expression=exp.Literal.number("0.5")))
    return exp.Paren(
        this=exp.Mul(
            this=_call("sign", value), expression=exp.Paren(this=exp.Div(this=whole, expression=factor.copy()))
        )
    )


_rounds = Rule(
    "clickhouse-round",
    "round() of ClickHouse rounds a half to the even number, DuckDB's away from zero.",
    _round,
)
_has = Rule(
    "clickhouse-contains",
    "ClickHouse has position() for texts and has() for lists.",
    lambda call: (
        _call("has", *call.expressions)
        if call.expressions[0].name == "tokens"
        else exp.Paren(this=exp.GT(this=_call("position", *call.expressions), expression=exp.Literal.number(0)))
    ),
)
_quantile = Rule(
    "clickhouse-quantile",
    "quantile_cont(x, p) interpolates as quantileExactInclusive(p)(x) does; quantile() is an estimate.",
    lambda call: exp.ParameterizedAgg(
        this="quantileExactInclusive", expressions=[call.expressions[1].copy()], params=[call.expressions[0].copy()]
    ),
)


def _same(node: exp.Expression) -> exp.Expression:
    both = exp.Paren(
        this=exp.And(
            this=exp.Is(this=node.this.copy(), expression=exp.null()),
            expression=exp.Is(this=node.expression.copy(), expression=exp.null()),
        )
    )
    same = exp.Coalesce(this=exp.EQ(this=node.this.copy(), expression=node.expression.copy()), expressions=[both])
    return exp.Paren(this=exp.Not(this=same)) if isinstance(node, exp.NullSafeNEQ) else same


_distinct = Rule(
    "clickhouse-distinct-from",
    "IS DISTINCT FROM beside a join condition is spelled out: equal, or both NULL.",
    _same,
    (exp.NullSafeEQ, exp.NullSafeNEQ),
)


CLICKHOUSE: Final = Dialect(
    name=_NAME,
    sqlglot="clickhouse",
    functions={
        **{
            name: name
            for name in (
                "sum", "avg", "min", "max", "count", "abs", "ceil", "floor", "exp", "sqrt", "greatest", "least", "replace",
                "row_number", "rank", "dense_rank", "lag", "lead", "first_value", "last_value", "ntile", "sign", "substring",
                "substr", "repeat", "if", "pi", "nullif", "log2", "log10", "pow", "power", "percent_rank", "cume_dist",
            )
        },
        "lower": "lowerUTF8", "upper": "upperUTF8", "mean": "avg", "ln": "log", "ceiling": "ceil", "trim": "trimBoth",
        "ltrim": "trimLeft", "rtrim": "trimRight", "bit_or": "groupBitOr", "bit_and": "groupBitAnd", "bit_xor": "groupBitXor",
        "bool_or": "max", "bool_and": "min", "bit_count": "bitCount", "any_value": "any", "list_contains": "has", "list_has": "has",
        "array_contains": "has", "array_has": "has", "starts_with": "startsWith", "ends_with": "endsWith", "prefix": "startsWith",
        "suffix": "endsWith", "year": "toYear", "month": "toMonth", "day": "toDayOfMonth", "dayofmonth": "toDayOfMonth",
        "hour": "toHour", "minute": "toMinute", "second": "toSecond", "quarter": "toQuarter", "week": "toISOWeek",
        "weekofyear": "toISOWeek", "stddev": "stddevSamp", "stddev_samp": "stddevSamp", "stddev_pop": "stddevPop",
        "variance": "varSamp", "var_samp": "varSamp", "var_pop": "varPop", "median": "medianExactInclusive", "trunc": "trunc",
        "regexp_matches": "match", "position": "positionUTF8", "strpos": "positionUTF8", "instr": "positionUTF8",
        "count_star": shared.count_star, "text": _json, "json": _json, "arg_max": _extreme, "max_by": _extreme, "arg_min": _extreme,
        "min_by": _extreme, "date_part": _part, "datepart": _part, "date_trunc": _trunc, "datetrunc": _trunc, "epoch": _epoch,
        "now": _now, "today": _now, "get_current_timestamp": _now, "transaction_timestamp": _now, "contains": _has,
        "quantile_cont": _quantile, "round": _rounds, "unnest": shared.unnest, "timezone": _zone,
        "length": Rule(
            "clickhouse-length",
            "length() of ClickHouse counts bytes; DuckDB counts characters.",
            lambda call: _call("length" if call.expressions[0].name == "tokens" else "lengthUTF8", call.expressions[0]),
        ),
    },
    rules=(
        shared.in_subquery(lambda items, item: fill("has(arg0, arg1)", "clickhouse", items, item)),
        shared.moment_text,
        _type,
        shared.star_only,
        _shifts,
        _bits,
        _distinct,
        _casts,
        _current,
    ),
    finish=(plain_operands, flat_joins),
    structure=frozenset({exp.Interval, exp.Offset}),
    missing=frozenset({exp.TryCast}),
)  # fmt: skip
"""ClickHouse."""
