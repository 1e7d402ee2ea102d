"""Input `otlp`: log records of OpenTelemetry's SDKs and collectors, OTLP over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from metlog.event import Event
from metlog.listener.inputs import Sink
from metlog.listener.inputs._http_push import MOST_PARTS, Charge, PushApp, decode_json
from metlog.listener.inputs._http_server import Refusal, Request, Response
from metlog.listener.inputs._otlp import events_of_json, events_of_protobuf
from metlog.listener.inputs.http import HttpInput
from metlog.listener.protobuf import delimited, number

__all__ = ["OtlpInput"]

_PROTOBUF: Final = "application/x-protobuf"
_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 413: 8, 415: 3, 429: 8, 503: 14}
"""google.rpc.Code by HTTP status: what the Status message of a refusal holds (OTLP, "Failures")."""


class OtlpInput(HttpInput):
    """Listens for OTLP/HTTP: `POST /v1/logs`, protobuf and JSON, plain, gzip or zstd. Every OpenTelemetry SDK and collector sends so:
    `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://127.0.0.1:4318/v1/logs`.

    A log record becomes an event: `type` its event name, else `log`; `logger` the resource's `service.name`; `hostname`
    and `pid` its `host.name` and `process.pid`; `severity` by OpenTelemetry's table; `payload` the body where it is a text; `fields`
    the attributes, `trace_id`, `span_id`, `scope`, `severity_text`, `resource` (the other attributes of the resource), and `body` where it
    is no text. What the output `otlp` of another listener adds (`metlog.tokens`, `metlog.stream`, `metlog.seq`, `metlog.weight`)
    becomes that of the event again. An answer of 200 means that all records are on disk.

    host, port
        Loopback and OTLP's own port by default; port 0 takes a free one.
    All other options
        As for the input `http`, but for namespaces and deletable, which say nothing here.
    """

    default_port = 4318
    url_prefix = "otlp+"
    port_option = "port of the input otlp"
    takes_signed = False

    def _make_app(self, sink: Sink) -> PushApp:
        return _OtlpApp(self._rules, sink, self._watched, self._workers)


class _OtlpApp(PushApp):
    async def answer(self, request: Request) -> Response:
        kind = request.header("content-type").partition(";")[0].strip().lower()
        packed = kind == _PROTOBUF

        def parse(body: bytes, charge: Charge) -> Sequence[Event]:
            received = datetime.now(UTC)
            if not packed:
                return list(events_of_json(decode_json(body, charge), received))
            charge(len(body))  # what is built of it is some times as large
            return list(events_of_protobuf(body, received, MOST_PARTS))

        try:
            if request.path.rstrip("/") != "/v1/logs":
                raise Refusal(404, "logs are taken, at /v1/logs")
            if request.method != "POST":
                raise Refusal(405, "wants POST", ("allow", "POST"))
            if kind not in {_PROTOBUF, "application/json"}:
                raise Refusal(415, f"Content-Type: wants {_PROTOBUF} or application/json")
            rejected = await self.receive(request, parse)
        except Refusal as refusal:
            raise _status(refusal, packed=packed) from None
        return Response(200, _partial_success(rejected, packed=packed), kind)


def _partial_success(rejected: Mapping[int, str], *, packed: bool) -> bytes:
    """An ExportLogsServiceResponse: how many records were rejected, and why the first one was."""
    if not rejected:
        return b"" if packed else b"{}"
    index, reason = next(iter(rejected.items()))
    text = f"record {index}: {reason}"
    if not packed:
        return msgspec.json.encode({"partialSuccess": {"rejectedLogRecords": str(len(rejected)), "errorMessage": text}})
    return delimited(1, number(1, len(rejected)) + delimited(2, text.encode()))


def _status(refusal: Refusal, *, packed: bool) -> Refusal:
    """The refusal with a google.rpc.Status as its body."""
    response = refusal.response
    code, text = _CODES.get(response.status, 2), str(refusal)
    if packed:
        response.body = number(1, code) + delimited(2, text.encode())
        response.content_type = _PROTOBUF
    else:
        response.body = msgspec.json.encode({"code": code, "message": text})
        response.content_type = "application/json"
    return refusal
