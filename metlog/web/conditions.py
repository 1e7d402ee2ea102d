"""What a search looks for: read from a URL, told to an engine in SQL, and asked of one event, as the live tail does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import ge, gt, le, lt
from typing import Any, Final

import msgspec

from metlog.journal.follow import Event
from metlog.web.errors import Refused
from metlog.web.words import service, service_of, severity_of, shown_type, type_of

__all__ = ["CONDITIONS", "Condition", "Search", "text_of", "within"]

CONDITIONS: Final = (
    "q", "type", "not_type", "logger", "not_logger", "token", "not_token", "severity", "severities", "stream", "host", "field",
)  # fmt: skip
"""Parameters of a URL that are conditions. `not_…` and `field` may come more than once."""
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
"""What `=` compares as a number, too: 007 and 1e3 are names of something."""
_EXACT: Final = 2.0**53
"""Below it no two whole numbers are the same double."""
_FIELD: Final = re.compile(r"(!?)\s*([^=<>!~]+?)\s*(?:(!=|>=|<=|=|>|<|~)\s*(.*))?", re.DOTALL)
_CLASS: Final = re.compile(r"\dxx")
_COMPARED: Final = {">": gt, ">=": ge, "<": lt, "<=": le}
_MOST: Final = 64
"""Conditions of one search."""


@dataclass(frozen=True)
class Condition:
    """A condition on a field: `user=u1`, `status>=500`, `route~/cart` (contains), `user` (it is there), `status=5xx` (begins with a 5); with `!`
    before it, the opposite. `error|exception_type` is the first of these fields that is there."""

    text: str
    negated: bool
    names: tuple[str, ...]
    operator: str
    """`=`, `~`, `>`, `>=`, `<`, `<=`, or "" where the field must be there. `!=` is `=`, negated."""
    wanted: str
    amount: float | None
    """`wanted` where it is compared as a number."""

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Raises Refused 400."""
        match = _FIELD.fullmatch(text)
        if match is None:
            raise Refused(
                400, f"field = {text!r}: wants a name, or such as user=u1, status>=500, route~/cart, !user=u1"
            )
        name, operator, wanted = match[2].strip(), match[3] or "", match[4] or ""
        parts = tuple(part for part in name.split("|") if part.strip()) if "|" in name else ()
        amount = None
        if operator in _COMPARED:
            amount = _number(wanted)
            if amount is None or not math.isfinite(amount):
                raise Refused(400, f"field = {text!r}: {operator} compares numbers, and {wanted!r} is none")
        elif _NUMBER.fullmatch(wanted) and abs(float(wanted)) < _EXACT:
            amount = float(wanted)
        negated = bool(match[1]) != (operator == "!=")
        return cls(text, negated, (name, *parts), "=" if operator == "!=" else operator, wanted, amount)

    def sql(self, number: int, values: dict[str, Any]) -> str:
        """The condition in SQL; adds what its parameters need to `values`."""
        paths = [path for place, name in enumerate(self.names) for path in _paths(name, f"{number}_{place}", values)]
        texts = [f"json_extract_string(fields, ${path})" for path in paths]
        condition = self._compared(
            f"coalesce({', '.join(texts)})" if len(texts) > 1 else texts[0], paths, number, values
        )
        return f"NOT coalesce(({condition}), false)" if self.negated else condition

    def _compared(self, found: str, paths: list[str], number: int, values: dict[str, Any]) -> str:
        wanted, amount, operator = f"value{number}", f"amount{number}", self.operator
        if not operator:
            return f"{found} IS NOT NULL"
        if operator in _COMPARED:
            values[amount] = self.amount
            return f"TRY_CAST({found} AS DOUBLE) {operator} ${amount}"
        values[wanted] = self.wanted
        if operator == "~":
            return f"contains(lower({found}), lower(${wanted}))"
        if _CLASS.fullmatch(self.wanted):
            values[f"digit{number}"] = self.wanted[0]
            return f"({found} = ${wanted} OR substr({found}, 1, 1) = $digit{number})"
        if self.amount is None:
            return f"{found} = ${wanted}"
        values[amount] = self.amount
        # As JSON a text has quotes around it, a number has not: 5 finds the number 5.0, and of texts "5" alone.
        return f"({found} = ${wanted} OR (TRY_CAST({found} AS DOUBLE) = ${amount} AND CAST({_json(paths)} AS VARCHAR) = {found}))"

    def holds(self, fields: Mapping[str, Any]) -> bool:
        """Whether an event's fields fulfil it, as the SQL says."""
        found = next((value for name in self.names if (value := within(fields, name)) is not None), None)
        return self._holds(found) != self.negated

    def _holds(self, found: Any) -> bool:
        if found is None or not self.operator:
            return found is not None
        text = text_of(found)
        if self.operator == "~":
            return self.wanted.lower() in text.lower()
        if self.operator == "=":
            number = isinstance(found, (int, float)) and not isinstance(found, bool)
            digit = self.wanted[0] if _CLASS.fullmatch(self.wanted) else None
            return text == self.wanted or text[:1] == digit or (number and found == self.amount)
        amount, compared = self.amount, _number(text)
        if compared is None or amount is None:
            return False
        if math.isnan(compared):  # for an engine it is more than every number
            compared = math.inf
        return bool(_COMPARED[self.operator](compared, amount))


def _number(text: str) -> float | None:
    """The number that a text is for an engine's TRY_CAST; None where it is none."""
    try:
        return float(text) if text.isascii() else None
    except ValueError:
        return None


def _paths(name: str, number: str, values: dict[str, Any]) -> list[str]:
    """The parameters of the paths to a field. A name with dots is a name first, then a way into objects."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    values[f"path{number}"] = f'$."{quoted}"'
    if not _deep(name):
        return [f"path{number}"]
    values[f"deep{number}"] = "$" + "".join(f'."{part}"' for part in quoted.split("."))
    return [f"path{number}", f"deep{number}"]


def _json(paths: list[str]) -> str:
    """The JSON behind the first of the paths that has a text."""
    found = f"json_extract(fields, ${paths[-1]})"
    for path in reversed(paths[:-1]):
        found = f"CASE WHEN json_extract_string(fields, ${path}) IS NOT NULL THEN json_extract(fields, ${path}) ELSE {found} END"
    return found


def _deep(name: str) -> bool:
    """Whether a name may be a way into objects."""
    return "." in name and all(name.split("."))


def within(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a field, None where it is not there. A name with dots is a name first, then a way into objects."""
    if (found := fields.get(name)) is not None or not _deep(name):
        return found
    place: Any = fields
    for part in name.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def text_of(value: Any) -> str:
    """A value of a field as text, as SQL has it: a text as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and (1e16 <= abs(value) < 1e21 or 1e-6 <= abs(value) < 1e-5):
        plain = format(Decimal(repr(value)), "f")  # msgspec writes these with an exponent, DuckDB without
        return plain if "." in plain else f"{plain}.0"
    return msgspec.json.encode(value).decode()


@dataclass
class Search:
    """What is looked for. Names are those of the wire."""

    since: datetime | None = None
    until: datetime | None = None
    type: str = ""
    token: str = ""
    logger: str | None = None
    severity: int | None = None
    """This one or worse."""
    severities: tuple[int, ...] = ()
    """Exactly these."""
    text: str = ""
    stream: str = ""
    host: str = ""
    not_types: tuple[str, ...] = ()
    not_loggers: tuple[str, ...] = ()
    not_tokens: tuple[str, ...] = ()
    fields: tuple[Condition, ...] = ()
    after: str = ""
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """The conditions as a URL has them, without what says nothing."""

    @classmethod
    def parse(
        cls, given: Iterable[tuple[str, str]], since: datetime | None = None, until: datetime | None = None
    ) -> Search:
        """From the parameters of a URL; of a name that may come once only, the last counts. Raises Refused 400."""
        one: dict[str, str] = {}
        several: dict[str, list[str]] = {}
        for key, value in given:
            if text := value.strip():
                one[key] = text
                several.setdefault(key, []).append(text)
        fields = list(dict.fromkeys(several.get("field", [])))
        pairs = [
            (key, text)
            for key in CONDITIONS
            for text in (
                dict.fromkeys(several.get(key, [])) if key == "field" or key.startswith("not_") else [one.get(key, "")]
            )
            if text
        ]
        if len(pairs) > _MOST:
            raise Refused(400, f"a search with {len(pairs)} conditions: wants at most {_MOST}")
        return cls(
            since, until, type_of(one.get("type", "")), one.get("token", ""), service_of(one["logger"]) if "logger" in one else None,
            severity_of(one["severity"]) if "severity" in one else None,
            tuple(sorted({severity_of(part, "severities") for part in one.get("severities", "").split(",") if part.strip()})),
            one.get("q", ""), one.get("stream", ""), one.get("host", ""),
            tuple(map(type_of, several.get("not_type", []))), tuple(map(service_of, several.get("not_logger", []))),
            tuple(several.get("not_token", [])), tuple(map(Condition.parse, fields)), one.get("after", ""), pairs,
        )  # fmt: skip

    def where(self) -> tuple[list[str], dict[str, Any]]:
        """Conditions in SQL, and the values of their parameters."""
        conditions, values = ["true"], dict[str, Any]()

        def add(name: str, sql: str, value: Any) -> None:
            conditions.append(sql.format(name=f"${name}"))
            values[name] = value

        if self.since is not None:
            add("since", "timestamp >= {name}", self.since)
        if self.until is not None:
            add("until", "timestamp < {name}", self.until)
        if self.type:
            add("type", "type = {name}", self.type)
        if self.token:
            add("token", "list_contains(tokens, {name})", self.token)
        if self.logger is not None:
            add("logger", "logger = {name}", self.logger)
        if self.severity is not None:
            add("severity", "severity <= {name}", self.severity)
        if self.severities:
            conditions.append(f"severity IN ({', '.join(map(str, self.severities))})")
        if self.stream:
            add("in_stream", "stream = {name}", self.stream)
        if self.host:
            add("host", "hostname = {name}", self.host)
        if self.text:
            text = (
                "(contains(lower(payload), lower({name})) OR contains(lower(CAST(fields AS VARCHAR)), lower({name})))"
            )
            add("text", text, self.text)
        for kind, sql, unwanted in (
            ("type", "type <> {name}", self.not_types),
            ("logger", "logger <> {name}", self.not_loggers),
            ("token", "NOT list_contains(tokens, {name})", self.not_tokens),
        ):
            for number, text in enumerate(unwanted):
                add(f"not_{kind}{number}", sql, text)
        conditions += [condition.sql(number, values) for number, condition in enumerate(self.fields)]
        return conditions, values

    def takes(self, event: Event) -> bool:
        """Whether an event of the journal is looked for; its time does not count."""
        text = self.text.lower()
        tokens = event["tokens"]
        return (
            (not self.type or event["type"] == self.type)
            and (not self.token or self.token in tokens)
            and (self.logger is None or event["logger"] == self.logger)
            and (self.severity is None or event["severity"] <= self.severity)
            and (not self.severities or event["severity"] in self.severities)
            and (not self.stream or event["stream"] == self.stream)
            and (not self.host or event["hostname"] == self.host)
            and event["type"] not in self.not_types
            and event["logger"] not in self.not_loggers
            and not any(token in tokens for token in self.not_tokens)
            and all(condition.holds(event["fields"]) for condition in self.fields)
            and (not text or text in event["payload"].lower() or text in text_of(event["fields"]).lower())
        )

    def shown(self, name: str) -> str:
        """The value of a form's field: what people call a type or a service."""
        found = {
            "q": self.text, "type": shown_type(self.type), "token": self.token,
            "logger": "" if self.logger is None else service(self.logger),
            "severity": "" if self.severity is None else str(self.severity),
        }  # fmt: skip
        return found[name]
