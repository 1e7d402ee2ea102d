"""Events to OTLP log records (opentelemetry-proto, logs/v1), as protobuf and as JSON: what the input `otlp` does, turned around."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from metlog.journal.rows import micros
from metlog.listener.otlp import own_attributes, severity_number
from metlog.listener.outputs import Delivery
from metlog.listener.protobuf import delimited, fixed64, number

__all__ = ["json_of", "protobuf_of"]

_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_SPAN: Final = re.compile(r"[0-9a-f]{16}")
_RESERVED: Final = frozenset({"service.name", "host.name", "process.pid"})
_DOUBLE: Final = struct.Struct("<d")
_FIXED: Final = struct.Struct("<Q")
_encode: Final = msgspec.json.Encoder().encode
_NOTHING: Final = object()


class _Record(NamedTuple):
    nanos: int
    observed: int
    severity: int
    text: str
    body: Any
    attributes: dict[str, Any]
    trace: str
    span: str
    name: str


_Groups = dict[str, tuple[dict[str, Any], dict[str, list[_Record]]]]
"""Resources by a text of what is in them: the attributes, and the records by the name of their scope."""


def json_of(deliveries: Sequence[Delivery]) -> bytes:
    """Returns an ExportLogsServiceRequest as JSON."""
    return _encode({
        "resourceLogs": [
            {
                "resource": {"attributes": _json_pairs(resource)},
                "scopeLogs": [
                    {"scope": {"name": scope}, "logRecords": [_json_record(record) for record in records]}
                    for scope, records in scopes.items()
                ],
            }
            for resource, scopes in _grouped(deliveries).values()
        ]
    })  # fmt: skip


def protobuf_of(deliveries: Sequence[Delivery]) -> bytes:
    """Returns an ExportLogsServiceRequest as protobuf."""
    return b"".join([
        delimited(1, delimited(1, _pairs(1, resource)) + b"".join([
            delimited(2, delimited(1, delimited(1, scope.encode())) + b"".join([
                delimited(2, _record(record)) for record in records
            ]))
            for scope, records in scopes.items()
        ]))
        for resource, scopes in _grouped(deliveries).values()
    ])  # fmt: skip


def _grouped(deliveries: Sequence[Delivery]) -> _Groups:
    """Events of one process and scope stay in their order."""
    groups: _Groups = {}
    for delivery in deliveries:
        resource, scope, record = _parts(delivery)
        key = _encode(resource).decode()
        groups.setdefault(key, (resource, {}))[1].setdefault(scope, []).append(record)
    return groups


def _parts(delivery: Delivery) -> tuple[dict[str, Any], str, _Record]:
    event = delivery.event
    left = dict(event.fields)
    resource: dict[str, Any] = {}
    if event.logger:
        resource["service.name"] = event.logger
    if event.hostname:
        resource["host.name"] = event.hostname
    if event.pid:
        resource["process.pid"] = event.pid
    more = left.get("resource")
    if isinstance(more, dict) and more and not _RESERVED & set(more):
        resource |= left.pop("resource")
    body: Any = event.payload or _NOTHING
    if body is _NOTHING and not isinstance(left.get("body"), str | None):
        body = left.pop("body")
    scope, text = _taken(left, "scope"), _taken(left, "severity_text")
    trace, span = _taken(left, "trace_id", _TRACE), _taken(left, "span_id", _SPAN)
    name = "" if event.type == "log" and "event.name" not in left else event.type
    attributes = {**own_attributes(event), **left}
    record = _Record(
        _nanos(micros(event.timestamp)), _nanos(delivery.received_at), severity_number(event.severity), text, body, attributes,
        trace, span, name,
    )  # fmt: skip
    return resource, scope, record


def _taken(fields: dict[str, Any], key: str, form: re.Pattern[str] | None = None) -> str:
    """Takes a text out of the fields, where it has the form that OTLP wants; "" when it has not."""
    value = fields.get(key)
    if not isinstance(value, str) or not value or (form is not None and not form.fullmatch(value)):
        return ""
    del fields[key]
    return value


def _nanos(moment: int) -> int:
    """Of microseconds since the epoch; 0, unknown, where that is no unsigned number of 64 bits."""
    nanos = moment * 1000
    return nanos if 0 <= nanos < 2**64 else 0


def _fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _json_record(record: _Record) -> dict[str, Any]:
    made: dict[str, Any] = {
        "timeUnixNano": str(record.nanos), "observedTimeUnixNano": str(record.observed),
        "severityNumber": record.severity, "attributes": _json_pairs(record.attributes),
    }  # fmt: skip
    if record.body is not _NOTHING:
        made["body"] = _json_value(record.body)
    named = (
        ("severityText", record.text),
        ("traceId", record.trace),
        ("spanId", record.span),
        ("eventName", record.name),
    )
    made.update({key: value for key, value in named if value})
    return made


def _json_pairs(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _json_value(value)} for key, value in table.items()]


def _json_value(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int() if _fits(value):
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_json_value(item) for item in value]}}
        case dict():
            return {"kvlistValue": {"values": _json_pairs(value)}}
    return {"stringValue": str(value)}


# ---- protobuf --------------------------------------------------------------------------------------------------------


def _record(record: _Record) -> bytes:
    parts = [fixed64(1, _FIXED.pack(record.nanos)), number(2, record.severity)]
    if record.text:
        parts.append(delimited(3, record.text.encode()))
    if record.body is not _NOTHING:
        parts.append(delimited(5, _value(record.body)))
    parts.append(_pairs(6, record.attributes))
    if record.trace:
        parts.append(delimited(9, bytes.fromhex(record.trace)))
    if record.span:
        parts.append(delimited(10, bytes.fromhex(record.span)))
    parts.append(fixed64(11, _FIXED.pack(record.observed)))
    if record.name:
        parts.append(delimited(12, record.name.encode()))
    return b"".join(parts)


def _pairs(tag: int, table: Mapping[str, Any]) -> bytes:
    return b"".join([
        delimited(tag, delimited(1, key.encode()) + delimited(2, _value(value))) for key, value in table.items()
    ])  # fmt: skip


def _value(value: Any) -> bytes:
    match value:
        case None:
            return b""
        case bool():
            return number(2, value)
        case int() if _fits(value):
            return number(3, value)
        case float():
            return fixed64(4, _DOUBLE.pack(value))
        case list():
            return delimited(5, b"".join([delimited(1, _value(item)) for item in value]))
        case dict():
            return delimited(6, _pairs(1, value))
    return delimited(1, str(value).encode())
