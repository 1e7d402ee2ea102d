"""Expressions over `fields` that a column of its own can answer, such as `fields->>'user'`: on the parsed tree, a column of the view
`metlog_promoted` takes their place.

That view has the columns of `events` and one more for each expression found here: a promoted column in files that have it, the same
expression over `fields` in all others (`metlog.lake.sql.promoted`). No query's meaning is changed: a SELECT stays as it is where it is not
sure which `fields` is meant, or where something else would see that there are more columns.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from metlog.lake.sql.pruning import parameters, template, template_statement
from metlog.lake.sql.tree import Tree, nodes, write

__all__ = ["VIEW", "Form", "Promotable", "Wanted", "promotable"]


VIEW: Final = "metlog_promoted"

Form = Literal[
    "text", "json", "double", "text or double", "json or double", "integer", "text or integer", "json or integer"
]
"""What of a value is wanted. `text`: what `->>` gives; `json`: what `->` gives; `double`, `integer`: the number where the file has it in a
column of that type, else NULL; `text or double` and the like: the text where there is no such column, else NULL."""

_Match = tuple[str, Form, Tree]

_ARROWS: Final[dict[str, Form]] = {
    "->>": "text", "json_extract_string": "text", "json_extract_path_text": "text",
    "->": "json", "json_extract": "json", "json_extract_path": "json",
}  # fmt: skip
_NUMBERS: Final[dict[str, Literal["double", "integer"]]] = {
    "double": "double", "float8": "double",
    "bigint": "integer", "int8": "integer", "long": "integer", "integer": "integer", "int": "integer", "int4": "integer",
}  # fmt: skip
"""Types to which a cast of the text gives what a cast of the number gives."""
_LAMBDAS: Final = frozenset({
    "apply", "array_apply", "array_filter", "array_reduce", "array_transform", "filter", "list_apply", "list_filter", "list_reduce",
    "list_transform", "reduce",
})  # fmt: skip
"""Functions in whose arguments an arrow may be a function, and `fields` the name of what it is given."""


class Wanted(NamedTuple):
    """A column of the view `metlog_promoted`."""

    column: str
    form: Form
    path: str
    """The constant behind the arrow, or the name of the parameter that is there."""
    parameter: bool


@dataclass(slots=True, frozen=True)
class Promotable:
    """A query over `metlog_promoted`, the columns that it wants there, and the parameters that it has left."""

    sql: str
    wanted: tuple[Wanted, ...]
    parameters: frozenset[str]


def promotable(tree: Tree, ctes: Iterable[str]) -> Promotable | None:
    """The query of a statement's tree with columns in the place of expressions; None where there are none."""
    changed = copy.deepcopy(tree)
    rewriter = _Rewriter(changed, frozenset(ctes))
    selects = [node for node in nodes(changed) if node.get("type") == "SELECT_NODE" and "cte_map" in node]
    for node in reversed(selects):  # inner ones first
        rewriter.select(node, named=node is not changed["node"])
    if not rewriter.wanted:
        return None
    rewriter.finish()
    names = frozenset(str(parameter["identifier"]) for parameter in parameters(changed))
    return Promotable(write(changed), tuple(rewriter.wanted.values()), names)


_OWN: Final = ("select_list", "where_clause", "group_expressions", "having", "qualify", "modifiers")
"""Parts of a SELECT that hold its expressions. The conditions of joins are left as they are."""


class _Rewriter:
    def __init__(self, tree: Tree, ctes: frozenset[str]) -> None:
        self.wanted: dict[tuple[str, str, bool], Wanted] = {}
        self._ctes = ctes
        self._once = dict(_named_once(tree))
        self._stars: dict[int, tuple[Tree, list[str] | None]] = {}
        """What `*` must not give: these columns, or all of the view's own."""

    def select(self, node: Tree, *, named: bool) -> None:
        """Changes a SELECT where it reads `events` and nothing would see more than before. `named`: somebody may ask for its columns
        by the names that they have without an alias."""
        tables = list(_tables(node.get("from_table") or {}))
        events = {_alias(ref): ref for ref in tables if self._is_events(ref)}
        inner = {_alias(ref): found for ref in tables if (found := self._handed_on(ref)) is not None}
        sources = {*events, *inner}
        if not sources or len({_alias(ref) for ref in tables}) < len(tables) or not _plain(node, sources):
            return
        places = _Places(self, sources, alone=len(tables) == 1)
        for item in node["select_list"]:
            name = self._name(item) if named and not item.get("alias") and places.any_in(item) else ""
            places.replace_in(item)
            if name:
                item["alias"] = name
        for key in _OWN[1:]:
            places.replace_in(node.get(key))
        for alias, columns in places.used.items():
            if alias in events:
                _read_view(events[alias])
            else:
                self._hand_on(inner[alias], columns)
        for item in node["select_list"]:
            if item.get("class") == "STAR":
                relation = str(item.get("relation_name") or "").lower()
                seen = [alias for alias in places.used if relation in {"", alias}]
                given = list(dict.fromkeys(name for alias in seen for name in places.used[alias]))
                if seen:
                    self._stars[id(item)] = (item, None if any(alias in events for alias in seen) else given)

    def finish(self) -> None:
        """`*` gives what it gave before."""
        every = [wanted.column for wanted in self.wanted.values()]
        for star, columns in self._stars.values():
            star["exclude_list"] = [*(star.get("exclude_list") or []), *(every if columns is None else columns)]

    def _handed_on(self, ref: Tree) -> Tree | None:
        """The SELECT of a subquery or a common table expression that hands on `fields` of `events` as it is; nobody else reads it."""
        if ref.get("column_name_alias") or ref.get("sample"):
            return None
        if ref.get("type") == "SUBQUERY" and ref.get("alias"):
            node: Tree = (ref.get("subquery") or {}).get("node") or {}
        elif ref.get("type") == "BASE_TABLE":
            node = self._once.get(str(ref.get("table_name", "")).lower(), {})
        else:
            return None
        if node.get("type") != "SELECT_NODE" or any(
            node.get(key) for key in ("group_expressions", "group_sets", "having")
        ):
            return None
        if node.get("aggregate_handling") != "STANDARD_HANDLING" or any(
            modifier.get("type") == "DISTINCT_MODIFIER" for modifier in node.get("modifiers") or []
        ):
            return None
        tables = list(_tables(node.get("from_table") or {}))
        if len(tables) != 1 or not (self._is_events(tables[0]) or tables[0].get("table_name") == VIEW):
            return None
        fine = _plain(node, {_alias(tables[0])}) and sum(_gives_fields(item) for item in node["select_list"]) == 1
        return node if fine else None

    def _hand_on(self, node: Tree, columns: Iterable[str]) -> None:
        """Lets a SELECT give these columns of the view too."""
        (ref,) = _tables(node["from_table"])
        _read_view(ref)
        for item in node["select_list"]:
            if item.get("class") == "STAR":
                self._stars[id(item)] = (item, None)
        for name in columns:
            made = template("x")
            made["column_names"] = [_alias(ref), name]
            node["select_list"].append(made)

    def column(self, form: Form, path: Tree) -> str:
        """The column of the view that has this form of a value."""
        parameter = path["class"] == "PARAMETER"
        text = str(path["identifier"] if parameter else path["literal"]["text"])
        key = (form, text, parameter)
        if key not in self.wanted:
            self.wanted[key] = Wanted(f"metlog_field_{len(self.wanted)}", form, text, parameter)
        return self.wanted[key].column

    def _is_events(self, ref: Tree) -> bool:
        name = str(ref.get("table_name", "")).lower()
        plain = not ref.get("column_name_alias") and not ref.get("sample")
        return ref.get("type") == "BASE_TABLE" and name == "events" and name not in self._ctes and plain

    def _name(self, item: Tree) -> str:
        """The name that a column without an alias has."""
        statement = template_statement()
        statement["node"]["select_list"] = [item]
        statement["named_param_map"] = [
            {"key": str(parameter["identifier"]), "value": number}
            for number, parameter in enumerate(parameters(item), 1)
        ]
        return write(statement).removeprefix("SELECT ").strip()


class _Places:
    """Where in a SELECT's expressions `fields` of an event is looked into."""

    def __init__(self, rewriter: _Rewriter, events: set[str], *, alone: bool) -> None:
        self.used: dict[str, dict[str, None]] = {}
        """The columns that were put in, by the alias of what has them."""
        self._rewriter = rewriter
        self._events = events
        self._alone = alone

    def any_in(self, value: Any) -> bool:
        return any(self._found(node) is not None for node in _own(value))

    def replace_in(self, value: Any) -> None:
        """Puts columns in the place of expressions, but not in subqueries: each is a SELECT of its own."""
        for node in _own(value):  # goes on in what was put in the place of a node, where nothing is found
            kind = _NUMBERS.get(str((node.get("type_expr") or {}).get("type_name", "")).lower())
            if node.get("class") == "CAST" and kind and (found := self._found(node["child"])) is not None:
                self._replace_cast(node, found, kind)
            elif (found := self._found(node)) is not None:
                alias, form, path = found
                self._replace(node, alias, form, path)

    def _replace(self, node: Tree, alias: str, form: Form, path: Tree) -> None:
        name = self._rewriter.column(form, path)
        self.used.setdefault(alias, {})[name] = None
        made = template("x")
        made["column_names"] = [alias, name]
        made["alias"] = node.get("alias") or ""
        node.clear()
        node.update(made)

    def _replace_cast(self, node: Tree, found: _Match, kind: Literal["double", "integer"]) -> None:
        alias, form, path = found
        made = template("coalesce(x, y)")
        number, rest = made["children"]
        self._replace(number, alias, kind, path)
        self._replace(rest, alias, f"{form} or {kind}", path)  # type: ignore[arg-type]
        made["alias"] = node.get("alias") or ""
        made["children"] = [{**copy.deepcopy(node), "child": child, "alias": ""} for child in (number, rest)]
        node.clear()
        node.update(made)

    def _found(self, node: Tree) -> _Match | None:
        """The event's alias, what is wanted, and the path, when the node looks into `fields` by one name."""
        if node.get("class") == "LAMBDA" and node.get("syntax_type") == "SINGLE_ARROW":
            form: Form | None = "json"
            operands = [node.get("lhs") or {}, node.get("expr") or {}]
        elif node.get("class") == "FUNCTION" and not node.get("filter") and not node.get("distinct"):
            form = _ARROWS.get(str(node.get("function_name")).lower())
            operands = [argument["expression"] for argument in node.get("arguments") or [] if not argument.get("name")]
        else:
            return None
        if form is None or len(operands) != 2:
            return None
        column, path = operands
        names = [str(name).lower() for name in column.get("column_names") or []]
        if column.get("class") != "COLUMN_REF" or names[-1:] != ["fields"]:
            return None
        if len(names) == 1 and self._alone:
            alias = next(iter(self._events))
        elif len(names) == 2 and names[0] in self._events:
            alias = names[0]
        else:
            return None
        text = (path.get("literal") or {}).get("kind") == "STRING" if path.get("class") == "CONSTANT" else False
        return (alias, form, path) if text or path.get("class") == "PARAMETER" else None


def _own(value: Any) -> Iterator[Tree]:
    """The nodes of an expression, outer ones first; not those of subqueries, and not those where an arrow may be a function."""
    if isinstance(value, list):
        for item in value:
            yield from _own(item)
    elif isinstance(value, dict):
        if value.get("class") == "SUBQUERY":
            yield from _own(value.get("child"))
            return
        if value.get("class") == "FUNCTION" and str(value.get("function_name")).lower() in _LAMBDAS:
            return
        yield value
        for item in list(value.values()):
            yield from _own(item)


def _plain(node: Tree, events: set[str]) -> bool:
    """Whether nothing in a SELECT sees all columns of a table at once, but for a `*` of the list, and `fields` is a column."""
    top = {id(item) for item in node["select_list"]}
    ordered = [
        order["expression"] for modifier in node.get("modifiers") or [] for order in modifier.get("orders") or []
    ]
    by_all = {id(item) for item in ordered if item.get("class") == "STAR" and not item.get("expr")}  # ORDER BY ALL
    aliases = {str(item.get("alias") or "").lower() for item in node["select_list"]}
    # `count(*) AS events … ORDER BY events` means the count.
    by_alias = {id(item) for item in ordered if str((item.get("column_names") or [""])[0]).lower() in aliases}
    for item in nodes(node):
        if item.get("class") == "STAR" and id(item) not in by_all:
            mine = id(item) in top
            if mine and (item.get("columns") or item.get("expr")):
                return False
            if not mine and (
                item.get("columns") or item.get("expr") or str(item.get("relation_name") or "").lower() in events
            ):
                return False
        elif item.get("class") == "COLUMN_REF":
            names = [str(name).lower() for name in item.get("column_names") or []]
            if len(names) == 1 and names[0] in events and id(item) not in by_alias:
                return False
        elif item.get("ref_type") == "NATURAL":
            return False
    for item in _own([node.get(key) for key in _OWN]):
        if item.get("class") == "STAR" and id(item) not in top and id(item) not in by_all:
            return False
    return not any(
        str(item.get("alias") or "").lower() == "fields"
        and (item.get("class") != "COLUMN_REF" or str(item["column_names"][-1]).lower() != "fields")
        for item in node["select_list"]
    )


def _named_once(tree: Tree) -> Iterator[tuple[str, Tree]]:
    """Common table expressions that are read in one place, by name."""
    read = Counter(str(node.get("table_name", "")).lower() for node in nodes(tree) if node.get("type") == "BASE_TABLE")
    for node in nodes(tree):
        for entry in (node.get("cte_map") or {}).get("map") or []:
            name, value = str(entry.get("key", "")).lower(), entry.get("value") or {}
            if read[name] == 1 and not value.get("aliases"):
                yield name, value.get("query_node") or (value.get("query") or {}).get("node") or {}


def _gives_fields(item: Tree) -> bool:
    """Whether an item of a SELECT's list gives the column `fields` of its table."""
    if item.get("class") == "STAR":
        left_out = [
            *(item.get("exclude_list") or []),
            *(entry.get("key", "") for entry in item.get("replace_list") or []),
        ]
        whole = not item.get("rename_list") and not item.get("qualified_exclude_list")
        return whole and all(str(name).lower() != "fields" for name in left_out)
    return (
        item.get("class") == "COLUMN_REF"
        and str(item["column_names"][-1]).lower() == "fields"
        and (str(item.get("alias") or "fields").lower() == "fields")
    )


def _read_view(ref: Tree) -> None:
    ref["alias"] = ref.get("alias") or ref["table_name"]
    ref["table_name"] = VIEW
    ref["qualified_name"] = {"path": [VIEW]}


def _tables(ref: Tree) -> Iterator[Tree]:
    if ref.get("type") == "JOIN":
        yield from _tables(ref.get("left") or {})
        yield from _tables(ref.get("right") or {})
    elif ref.get("type") not in {None, "EMPTY"}:
        yield ref


def _alias(ref: Tree) -> str:
    return str(ref.get("alias") or ref.get("table_name") or id(ref)).lower()
