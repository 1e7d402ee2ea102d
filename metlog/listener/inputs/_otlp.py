"""OTLP log records (opentelemetry-proto, logs/v1, as protobuf and as JSON) to events."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from metlog.event import Event
from metlog.listener.otlp import severity_of, take_own
from metlog.listener.protobuf import Budget, ProtobufError, fields

__all__ = ["events_of_json", "events_of_protobuf"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DEEPEST: Final = 64
"""Values within each other; what is deeper is left out and marked, as the encoders do."""
_TOO_DEEP: Final = "<too deep>"
_DOUBLE: Final = struct.Struct("<d")
_NAMED: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


class _Group:
    """What all records of one resource and scope share."""

    def __init__(self, resource: dict[str, Any], scope: str) -> None:
        resource = dict(resource)
        self.logger = _text(resource.pop("service.name", ""))
        self.hostname = _text(resource.pop("host.name", ""))
        pid = resource.pop("process.pid", 0)
        self.pid = pid if isinstance(pid, int) and 0 <= pid < 2**63 else 0
        self.resource = resource
        self.scope = scope


def _event(
    group: _Group, received: datetime, nanos: int, observed: int, severity: int, text: str, body: Any,
    attributes: dict[str, Any], trace: str, span: str, name: str,
) -> Event:  # fmt: skip
    kind = name or _text(attributes.get("event.name", "")) or "log"
    found = attributes
    if trace:
        found.setdefault("trace_id", trace)
    if span:
        found.setdefault("span_id", span)
    if group.scope:
        found.setdefault("scope", group.scope)
    if text:
        found.setdefault("severity_text", text)
    if group.resource:
        found.setdefault("resource", group.resource)
    payload = ""
    if isinstance(body, str):
        payload = body
    elif body is not None:
        found.setdefault("body", body)
    own = {"tokens": (kind,), **take_own(found)}
    return Event(
        timestamp=_time(nanos or observed) or received, type=kind, logger=group.logger, severity=severity_of(severity),
        payload=payload, fields=found, pid=group.pid, hostname=group.hostname, **own,
    )  # fmt: skip


def _time(nanos: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=nanos // 1000) if nanos else None
    except OverflowError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _number(value: float) -> Any:
    """A double; what JSON cannot say, as its name."""
    return value if math.isfinite(value) else str(value)


# ---- protobuf --------------------------------------------------------------------------------------------------------


def events_of_protobuf(body: bytes, received: datetime, parts: int) -> Iterator[Event]:
    """Yields the events of an ExportLogsServiceRequest; raises `ProtobufError`. `parts` bounds its fields."""
    budget = Budget(parts)
    for number, resource_logs in _messages(memoryview(body), budget):
        if number != 1:
            continue
        resource: dict[str, Any] = {}
        scopes: list[memoryview] = []
        for inner, data in _messages(resource_logs, budget):
            if inner == 1:
                _attributes(data, budget, resource, 1)
            elif inner == 2:
                scopes.append(data)
        for scope in scopes:
            yield from _scope(scope, resource, received, budget)


def _messages(data: memoryview, budget: Budget) -> Iterator[tuple[int, memoryview]]:
    return ((number, value) for number, value in fields(data, budget) if isinstance(value, memoryview))


def _scope(data: memoryview, resource: dict[str, Any], received: datetime, budget: Budget) -> Iterator[Event]:
    name = ""
    records: list[memoryview] = []
    for number, part in _messages(data, budget):
        if number == 1:
            name = next((_utf8(value) for inner, value in _messages(part, budget) if inner == 1), "")
        elif number == 2:
            records.append(part)
    group = _Group(resource, name)
    for record in records:
        yield _record(record, group, received, budget)


def _record(data: memoryview, group: _Group, received: datetime, budget: Budget) -> Event:
    numbers: dict[int, int] = {}
    texts: dict[int, memoryview] = {}
    attributes: dict[str, Any] = {}
    body: Any = None
    for number, value in fields(data, budget):
        if isinstance(value, int):
            numbers[number] = value
        elif number == 5:
            body = _value(value, budget, 1)
        elif number == 6:
            _attribute(value, budget, attributes, 1)
        else:
            texts[number] = value
    empty = memoryview(b"")
    return _event(
        group, received, numbers.get(1, 0), numbers.get(11, 0), numbers.get(2, 0), _utf8(texts.get(3, empty)), body, attributes,
        bytes(texts.get(9, empty)).hex(), bytes(texts.get(10, empty)).hex(), _utf8(texts.get(12, empty)),
    )  # fmt: skip


def _attributes(data: memoryview, budget: Budget, into: dict[str, Any], number: int, depth: int = 1) -> None:
    for inner, value in _messages(data, budget):
        if inner == number:
            _attribute(value, budget, into, depth)


def _attribute(data: memoryview, budget: Budget, into: dict[str, Any], depth: int) -> None:
    key, found = "", None
    for number, value in _messages(data, budget):
        if number == 1:
            key = _utf8(value)
        elif number == 2:
            found = _value(value, budget, depth + 1)
    into[key] = found


def _value(data: memoryview, budget: Budget, depth: int) -> Any:
    """An AnyValue; the last field that is set counts, as protobuf has it for a oneof."""
    found: Any = None
    for number, value in fields(data, budget):
        if isinstance(value, int):
            if number == 2:
                found = bool(value)
            elif number == 3:
                found = value - (1 << 64) if value >= 1 << 63 else value
            elif number == 4:
                found = _number(_DOUBLE.unpack(value.to_bytes(8, "little"))[0])
        elif number == 1:
            found = _utf8(value)
        elif number in {5, 6} and depth >= _DEEPEST:
            found = _TOO_DEEP
        elif number == 5:
            found = [_value(item, budget, depth + 1) for inner, item in _messages(value, budget) if inner == 1]
        elif number == 6:
            table: dict[str, Any] = {}
            _attributes(value, budget, table, 1, depth)
            found = table
        elif number == 7:
            found = base64.b64encode(value).decode("ascii")
    return found


def _utf8(data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise ProtobufError("a text is not UTF-8") from None


# ---- JSON ------------------------------------------------------------------------------------------------------------


def events_of_json(body: Any, received: datetime) -> Iterator[Event]:
    """Yields the events of a decoded ExportLogsServiceRequest; raises ValueError that names the member at fault."""
    if not isinstance(body, Mapping):
        raise ValueError("wants an object with `resourceLogs`")
    for resource_logs in _list(body, "resourceLogs"):
        resource = _json_attributes(_table(resource_logs, "resource"), "attributes")
        for scope_logs in _list(resource_logs, "scopeLogs"):
            group = _Group(resource, _text(_table(scope_logs, "scope").get("name", "")))
            for record in _list(scope_logs, "logRecords"):
                yield _event(
                    group, received, _integer(record, "timeUnixNano"), _integer(record, "observedTimeUnixNano"),
                    _severity_number(record), _text(record.get("severityText", "")), _json_value(record.get("body"), 1),
                    _json_attributes(record, "attributes"), _hex(record, "traceId"), _hex(record, "spanId"),
                    _text(record.get("eventName", "")),
                )  # fmt: skip


def _list(table: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = table.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise ValueError(f"{key}: wants a list of objects")
    return found


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{key}: wants an object")
    return found


def _integer(table: Mapping[str, Any], key: str) -> int:
    """A 64-bit number, which protobuf's JSON writes as a text."""
    found = table.get(key) or 0
    try:
        if isinstance(found, bool) or not isinstance(found, int | str) or len(str(found)) > 20:
            raise ValueError
        return int(found)
    except ValueError:
        raise ValueError(f"{key}: wants a whole number") from None


def _severity_number(record: Mapping[str, Any]) -> int:
    found = record.get("severityNumber") or 0
    if isinstance(found, str):  # SEVERITY_NUMBER_INFO2
        name = found.removeprefix("SEVERITY_NUMBER_")
        base = name.rstrip("1234")
        if base in _NAMED:
            return _NAMED.index(base) * 4 + int(name[len(base) :] or 1)
        return 0
    return found if isinstance(found, int) else 0


def _hex(record: Mapping[str, Any], key: str) -> str:
    found = record.get(key) or ""
    return found.lower() if isinstance(found, str) else ""


def _json_attributes(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {_text(item.get("key", "")): _json_value(item.get("value"), 1) for item in _list(table, key)}


def _json_value(value: Any, depth: int) -> Any:
    if not isinstance(value, Mapping):
        return None
    for key, read in _JSON_VALUES.items():
        if key in value:
            return read(value[key], depth)
    return None


def _json_array(value: Any, depth: int) -> Any:
    if depth >= _DEEPEST:
        return _TOO_DEEP
    return [_json_value(item, depth + 1) for item in _list(value if isinstance(value, Mapping) else {}, "values")]


def _json_kvlist(value: Any, depth: int) -> Any:
    if depth >= _DEEPEST:
        return _TOO_DEEP
    items = _list(value if isinstance(value, Mapping) else {}, "values")
    return {_text(item.get("key", "")): _json_value(item.get("value"), depth + 1) for item in items}


def _json_int(value: Any, depth: int) -> Any:
    return _integer({"intValue": value}, "intValue")


def _json_double(value: Any, depth: int) -> Any:
    if isinstance(value, str):  # "NaN", "Infinity"
        return {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}.get(value, value)
    return value if isinstance(value, int | float) else None


_JSON_VALUES: Final[Mapping[str, Callable[[Any, int], Any]]] = {
    "stringValue": lambda value, depth: _text(value),
    "boolValue": lambda value, depth: bool(value),
    "intValue": _json_int,
    "doubleValue": _json_double,
    "arrayValue": _json_array,
    "kvlistValue": _json_kvlist,
    "bytesValue": lambda value, depth: _text(value),
}
