"""A condition on `timestamp` says something about `date`, by which the files are laid out: this adds it to the tree.

Only what is certainly implied is added: `date` is the UTC day of `timestamp` in every event, and the day of a time never
falls when the time rises. So in a WHERE, a top-level `timestamp >= x` brings `date >= day of x` along, for columns that
come from `events` unchanged, and x that does not depend on a row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from metlog.lake.sql.tree import Tree, read

__all__ = ["Bound", "Pruner", "parameters", "template", "template_statement"]


_OPS: Final = {
    "COMPARE_EQUAL": "=",
    "COMPARE_GREATERTHAN": ">=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_LESSTHAN": "<=",
    "COMPARE_LESSTHANOREQUALTO": "<=",
}
_FLIP: Final = {"=": "=", ">=": "<=", "<=": ">="}
_TYPES: Final = {
    "=": "COMPARE_EQUAL",
    ">=": "COMPARE_GREATERTHANOREQUALTO",
    "<=": "COMPARE_LESSTHANOREQUALTO",
}
_STABLE_FUNCTIONS: Final = frozenset(
    {
        "+", "-", "*", "/", "now", "today", "current_date", "current_timestamp", "get_current_timestamp", "trunc", "ago",
        "transaction_timestamp", "date_trunc", "datetrunc", "date_add", "date_sub", "make_date", "make_timestamp",
        "make_timestamptz", "to_timestamp", "timezone", "strptime", "to_years", "to_months", "to_weeks", "to_days",
        "to_hours", "to_minutes", "to_seconds", "to_milliseconds", "to_microseconds",
    }
)  # fmt: skip
_STABLE_NAMES: Final = frozenset({"current_date", "current_timestamp"})
_UP_TO_A_DAY: Final = frozenset({"microseconds", "milliseconds", "second", "minute", "hour", "day"})


@dataclass(slots=True)
class Bound:
    """`date op tree`, where `tree` is an expression that gives a day."""

    op: str
    tree: Tree


@dataclass(slots=True)
class _Source:
    """One thing in a FROM. `genuine`: its `timestamp` and `date` are those of one event (or file), unchanged."""

    name: str
    genuine: bool
    bounds: list[Bound] | None = None


@dataclass(slots=True)
class Pruner:
    """Walks a statement's tree and adds the conditions in place.

    `days` has, for each place that reads `events` or `files`, the bounds on its day that stand beside it.
    """

    ctes: dict[str, Tree]
    changed: bool = False
    days: list[list[Bound]] = field(default_factory=list)
    _known: dict[str, bool] = field(default_factory=dict)
    """Common table expressions that hand on `timestamp` and `date` unchanged, or do not."""

    def walk(self, value: Any) -> None:
        """Every SELECT in the tree, wherever it stands."""
        if isinstance(value, list):
            for item in value:
                self.walk(item)
        elif isinstance(value, dict):
            if value.get("type") == "SELECT_NODE" and "cte_map" in value:
                self._select(value)
            for item in value.values():
                self.walk(item)

    def _select(self, node: Tree) -> None:
        sources = list(self._sources(node.get("from_table") or {}))
        for source in sources:
            if source.bounds is not None:
                self.days.append(source.bounds)
        where = node.get("where_clause")
        if not isinstance(where, dict):
            return
        added = []
        for condition in _conjuncts(where):
            for compared, op, value in _comparisons(condition):
                column = compared.column
                found = _resolve(column, sources)
                if found is None or not _stable(value, alone=len(sources) == 1):
                    continue
                day = _day_of(value, as_day=compared.is_day)
                if found.bounds is not None:
                    found.bounds.append(Bound(op, day))
                if column[-1].lower() == "timestamp":
                    added.append(_compare([found.name, "date"], op, day))
        if added:
            node["where_clause"] = _and([where, *added])
            self.changed = True

    def _sources(self, ref: Tree) -> Iterator[_Source]:
        kind = ref.get("type")
        if kind == "JOIN":
            yield from self._sources(ref.get("left") or {})
            yield from self._sources(ref.get("right") or {})
        elif kind == "BASE_TABLE":
            name = str(ref.get("table_name", "")).lower()
            alias = str(ref.get("alias") or ref.get("table_name"))
            plain = not ref.get("column_name_alias")
            if name in self.ctes:
                if name not in self._known:  # looked at once, however often it is named
                    self._known[name] = False  # one that names itself is not followed
                    self._known[name] = self._passes(self.ctes[name])
                yield _Source(alias, plain and self._known[name])
            else:
                dated = name in {"events", "arrivals", "files"}
                yield _Source(alias, dated and plain, [] if dated else None)
        elif kind == "SUBQUERY":
            inner = (ref.get("subquery") or {}).get("node") or {}
            alias = str(ref.get("alias") or "")
            yield _Source(alias, bool(alias) and not ref.get("column_name_alias") and self._passes(inner))
        elif kind != "EMPTY":
            yield _Source(str(ref.get("alias") or ""), genuine=False)

    def _passes(self, node: Tree) -> bool:
        """Whether a subquery hands on `timestamp` and `date` of one event unchanged."""
        if node.get("type") != "SELECT_NODE" or node.get("group_expressions") or node.get("group_sets"):
            return False  # ROLLUP would set one of the two to NULL
        sources = list(self._sources(node.get("from_table") or {}))
        seen: dict[str, str] = {}
        for item in node.get("select_list") or []:
            label = str(item.get("alias") or "").lower()
            if item.get("class") == "STAR":
                if item.get("columns") or item.get("expr") or item.get("replace_list") or item.get("rename_list"):
                    return False
                if item.get("exclude_list") or item.get("qualified_exclude_list"):
                    return False
                source = _resolve([str(item["relation_name"]), "*"] if item.get("relation_name") else ["*"], sources)
                if source is None or seen:
                    return False
                seen = {"timestamp": source.name, "date": source.name}
            elif item.get("class") == "COLUMN_REF":
                column = [str(part) for part in item.get("column_names") or []]
                label = label or column[-1].lower()
                if label in {"timestamp", "date"}:
                    source = _resolve(column, sources)
                    if source is None or column[-1].lower() != label or label in seen:
                        return False
                    seen[label] = source.name
            elif label in {"timestamp", "date"}:
                return False
        return len(seen) == 2 and seen["timestamp"] == seen["date"]


def _resolve(column: list[str], sources: list[_Source]) -> _Source | None:
    if len(column) == 1:
        return sources[0] if len(sources) == 1 and sources[0].genuine else None
    if len(column) != 2:
        return None
    found = [source for source in sources if source.name.lower() == column[0].lower()]
    return found[0] if len(found) == 1 and found[0].genuine else None


def _conjuncts(tree: Tree) -> Iterator[Tree]:
    if tree.get("class") == "CONJUNCTION" and tree.get("type") == "CONJUNCTION_AND":
        for child in tree.get("children") or []:
            yield from _conjuncts(child)
    else:
        yield tree


class _Compared(NamedTuple):
    """What is compared with a value: a column, and whether a day of it, of the type DATE."""

    column: list[str]
    is_day: bool


def _comparisons(tree: Tree) -> Iterator[tuple[_Compared, str, Tree]]:
    """(column, operator of the day, value) of a comparison of `timestamp` or `date` with something."""
    kind = str(tree.get("type"))
    if tree.get("class") == "COMPARISON" and kind in _OPS:
        left, right = tree["left"], tree["right"]
        if (found := _compared(left)) is not None:
            yield found, _OPS[kind], right
        elif (found := _compared(right)) is not None:
            yield found, _FLIP[_OPS[kind]], left
    elif tree.get("class") == "BETWEEN" and kind == "COMPARE_BETWEEN":
        found = _compared(tree["input"])
        if found is not None:
            yield found, ">=", tree["lower"]
            yield found, "<=", tree["upper"]


def _compared(tree: Tree) -> _Compared | None:
    """The column when the tree is `timestamp`, `date`, or one of them cut down to something that has the same day."""
    if tree.get("class") == "COLUMN_REF":
        names = [str(name) for name in tree.get("column_names") or []]
        named = names and names[-1].lower() in {"timestamp", "date"}
        return _Compared(names, names[-1].lower() == "date") if named else None
    inner: Tree | None = None
    is_day = tree.get("class") == "CAST"
    if tree.get("class") == "CAST" and str((tree.get("type_expr") or {}).get("type_name", "")).lower() == "date":
        inner = tree["child"]
    elif tree.get("class") == "FUNCTION" and str(tree.get("function_name")).lower() in {"date_trunc", "datetrunc"}:
        unit, *rest = (argument["expression"] for argument in tree.get("arguments") or [{"expression": {}}])
        if str((unit.get("literal") or {}).get("text", "")).lower() in _UP_TO_A_DAY and len(rest) == 1:
            inner = rest[0]
    if inner is None or inner.get("class") != "COLUMN_REF" or (found := _compared(inner)) is None:
        return None
    return _Compared(found.column, is_day)


def _stable(tree: Tree, *, alone: bool) -> bool:
    """Whether an expression has one value for the whole query."""
    kind = tree.get("class")
    if kind in {"CONSTANT", "PARAMETER"}:
        return True
    if kind == "CAST":
        return _stable(tree["child"], alone=alone)
    if kind == "COLUMN_REF":  # DuckDB reads `current_date` as a column first
        names = tree.get("column_names") or []
        return alone and len(names) == 1 and str(names[0]).lower() in _STABLE_NAMES
    if kind == "FUNCTION" and str(tree.get("function_name")).lower() in _STABLE_FUNCTIONS:
        return all(_stable(argument["expression"], alone=alone) for argument in tree.get("arguments") or [])
    return False


def parameters(tree: Any) -> Iterator[Tree]:
    """The parameters in an expression."""
    if isinstance(tree, list):
        for item in tree:
            yield from parameters(item)
    elif isinstance(tree, dict):
        if tree.get("class") == "PARAMETER":
            yield tree
        for item in tree.values():
            yield from parameters(item)


_TEMPLATES: dict[str, Tree] = {}


def template(sql: str) -> Tree:
    """A fresh tree of an expression; DuckDB itself writes its form."""
    tree: Tree = template_statement(f"SELECT {sql}")["node"]["select_list"][0]
    return tree


def template_statement(sql: str = "SELECT 1") -> Tree:
    """A fresh tree of a statement."""
    if sql not in _TEMPLATES:
        _TEMPLATES[sql] = read(sql)["statements"][0]
    return copy.deepcopy(_TEMPLATES[sql])


def _day_of(value: Tree, *, as_day: bool) -> Tree:
    """The UTC day of a value. A text that is compared with a time is read as a time first, with its offset; one that is compared with a day
    is read as a day, whatever stands behind it."""
    tree = template("CAST(x AS DATE)" if as_day else "CAST(CAST(x AS TIMESTAMPTZ) AS DATE)")
    (tree if as_day else tree["child"])["child"] = copy.deepcopy(value)
    return tree


def _compare(column: list[str], op: str, day: Tree) -> Tree:
    tree = template("x >= y")
    tree["type"] = _TYPES[op]
    tree["left"]["column_names"] = column
    tree["right"] = day
    return tree


def _and(conditions: list[Tree]) -> Tree:
    tree = template("x AND y")
    tree["children"] = conditions
    return tree
