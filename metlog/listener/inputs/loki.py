"""Input `loki`: what shippers push to Grafana Loki."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from metlog.event import Event
from metlog.listener.inputs import Sink
from metlog.listener.inputs._http_push import MOST_PARTS, Charge, PushApp, decode_json
from metlog.listener.inputs._http_server import Refusal, Request, Response
from metlog.listener.inputs._shipped import HOSTS, LEVELS, SERVICES, labels_of, severity_of_level, take_first
from metlog.listener.inputs.http import HttpInput
from metlog.listener.protobuf import Budget, fields

__all__ = ["LokiInput"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PUSH: Final = "/loki/api/v1/push"


class LokiInput(HttpInput):
    """Listens for Loki's push interface, `POST /loki/api/v1/push`: JSON (Fluent Bit, Vector), and snappy-compressed protobuf (Grafana
    Agent, Alloy, Promtail; wants the extra `loki`).

    A line becomes an event of type `log`: `payload` the line, `timestamp` its time, `fields` the labels of its stream and its structured
    metadata; of these `service_name`, `service`, `app`, `job` or `container` becomes `logger`, `host`, `hostname` or `instance`
    `hostname`, `level` or `detected_level` `severity`.

    host, port
        Loopback and Loki's own port by default; port 0 takes a free one.
    token, token_file
        As for the input `http`; also taken as the password of basic authentication.
    All other options
        As for the input `http`, but for namespaces and deletable, which say nothing here.
    """

    default_port = 3100
    url_prefix = "loki+"
    port_option = "port of the input loki"
    takes_signed = False

    def _make_app(self, sink: Sink) -> PushApp:
        return _LokiApp(self._rules, sink, self._watched, self._workers)


class _LokiApp(PushApp):
    async def answer(self, request: Request) -> Response:
        path = request.path.rstrip("/")
        if path == "/ready" and request.method in {"GET", "HEAD"}:
            return Response(200, b"ready\n")
        if path != _PUSH:
            raise Refusal(404, f"lines are taken, at {_PUSH}")
        if request.method != "POST":
            raise Refusal(405, "wants POST", ("allow", "POST"))
        kind = request.header("content-type").partition(";")[0].strip().lower()
        if kind not in {"application/json", "application/x-protobuf"}:
            raise Refusal(415, "Content-Type: wants application/json or application/x-protobuf")
        limit = self._rules.max_body

        def parse(body: bytes, charge: Charge) -> Sequence[Event]:
            if kind == "application/json":
                return list(_of_json(decode_json(body, charge)))
            return list(_of_protobuf(_unsnap(body, limit, charge)))

        await self.receive(request, parse)
        return Response(204)


def _event(labels: Mapping[str, Any], nanos: int, line: str, metadata: Mapping[str, Any]) -> Event:
    found = {**labels, **metadata}
    logger, hostname, level = (take_first(found, names) for names in (SERVICES, HOSTS, LEVELS))
    try:
        moment = _EPOCH + timedelta(microseconds=nanos // 1000)
    except OverflowError:
        raise ValueError("a time is not in nanoseconds since the epoch") from None
    return Event(
        timestamp=moment, type="log", tokens=("log",), logger=logger, hostname=hostname, severity=severity_of_level(level),
        payload=line, fields=found,
    )  # fmt: skip


def _of_json(body: object) -> Iterator[Event]:
    streams = body.get("streams") if isinstance(body, dict) else None
    if not isinstance(streams, list):
        raise ValueError("wants an object with `streams`")
    for stream in streams:
        labels = stream.get("stream", {}) if isinstance(stream, dict) else None
        values = stream.get("values", []) if isinstance(stream, dict) else None
        if not isinstance(labels, dict) or not isinstance(values, list):
            raise ValueError("streams: wants objects with `stream`, the labels, and `values`, the lines")
        for value in values:
            match value:
                case [str(nanos), str(line)] if nanos.isascii() and nanos.isdecimal() and len(nanos) <= 20:
                    yield _event(labels, int(nanos), line, {})
                case [str(nanos), str(line), dict(metadata)] if (
                    nanos.isascii() and nanos.isdecimal() and len(nanos) <= 20
                ):
                    yield _event(labels, int(nanos), line, metadata)
                case _:
                    raise ValueError(
                        'values: wants ["nanoseconds since the epoch", "line"], and structured metadata as a third'
                    )


def _of_protobuf(body: bytes) -> Iterator[Event]:
    """A logproto.PushRequest (Loki, pkg/push/push.proto)."""
    budget = Budget(MOST_PARTS)
    for number, stream in fields(memoryview(body), budget):
        if number != 1 or isinstance(stream, int):
            continue
        labels: Mapping[str, str] = {}
        entries: list[memoryview] = []
        for inner, value in fields(stream, budget):
            if inner == 1 and not isinstance(value, int):
                labels = labels_of(str(value, "utf-8"))
            elif inner == 2 and not isinstance(value, int):
                entries.append(value)
        for entry in entries:
            yield _entry(labels, entry, budget)


def _entry(labels: Mapping[str, str], entry: memoryview, budget: Budget) -> Event:
    nanos, line, metadata = 0, "", dict[str, str]()
    for number, value in fields(entry, budget):
        if isinstance(value, int):
            continue
        if number == 1:
            parts = {inner: part for inner, part in fields(value, budget) if isinstance(part, int)}
            nanos = parts.get(1, 0) * 1_000_000_000 + parts.get(2, 0)
        elif number == 2:
            line = str(value, "utf-8")
        elif number == 3:
            pair = {inner: str(part, "utf-8") for inner, part in fields(value, budget) if not isinstance(part, int)}
            metadata[pair.get(1, "")] = pair.get(2, "")
    return _event(labels, nanos, line, metadata)


def _unsnap(body: bytes, limit: int, charge: Charge) -> bytes:
    """Snappy's block format, which says first how long it is unpacked (google/snappy, format_description.txt)."""
    try:
        from cramjam import DecompressionError, snappy
    except ImportError:
        raise Refusal(415, 'snappy-compressed protobuf wants pip install "metlog[loki]"; JSON is taken') from None
    size = shift = 0
    for byte in body[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > limit:
        raise Refusal(413, f"the body unpacks to {size} bytes; {limit} are taken")
    charge(2 * size)
    try:
        return bytes(snappy.decompress_raw(body, output_len=size)) if size else b""
    except DecompressionError as error:
        raise ValueError(f"not snappy: {error}") from None
