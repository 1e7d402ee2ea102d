"""Output `otlp`: events as log records to an OpenTelemetry collector, or another receiver of OTLP over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec

from metlog.listener.outputs import Delivery
from metlog.listener.outputs._otlp import json_of, protobuf_of
from metlog.listener.outputs._posting import Post, Posting
from metlog.listener.protobuf import Budget, ProtobufError, fields
from metlog.plugins.conversion import Seconds
from metlog.senders.options import one_of
from metlog.senders.tcp import tls_context

__all__ = ["OtlpOutput"]

_PARTS: Final = 1000
"""Fields of an answer that are read."""

log = logging.getLogger("metlog.listener")


class OtlpOutput(Posting):
    """Posts each batch as an ExportLogsServiceRequest (OTLP over HTTP).

    host, port, path
        Where to; OTLP's own port and path when left out.
    tls, ca_file, cert_file, key_file
        Whether to speak TLS; PEM files of the authorities to trust (the system's when left out), and of our own certificate and key.
    token, token_file
        Sent as `Authorization: Bearer …`; the file's first line, read again for each try after a 401 or 403.
    headers
        Further headers, such as the key that a hosted service asks for. They are not told anywhere.
    encoding
        `protobuf` or `json`.
    compression
        `gzip`, `zstd` or `none`.
    timeout
        Seconds for one request, from connecting to the answer.

    An event becomes the log record that the input `otlp` would make this event of: `type` its event name, `payload` its body, `fields` its
    attributes; `trace_id` and `span_id` (hex), `scope`, `severity_text`, `resource` and `body` go where OTLP has them; `logger`,
    `hostname` and `pid` are `service.name`, `host.name` and `process.pid` of the resource. What OTLP has no place for goes as attributes:
    `metlog.tokens`, `metlog.stream`, `metlog.seq` and `metlog.weight`, of which another listener makes the event that it was. Integers
    beyond 64 bits become texts.

    What is answered with 400, 413 or 422 is sent again in halves, until the events at fault are found: these are rejected. After any other
    answer, or none, the whole batch is tried again; a `Retry-After` is honoured. Of a partial success OTLP says how many records were
    rejected, not which: they are counted (`rejected_by_peer`) and told, and dead-lettered where it is all of a request.
    A request has no id: after a crash a batch may be sent twice.
    """

    batch_defaults: ClassVar[dict[str, Any]] = {"batch_events": 2000, "batch_bytes": 1 << 20, "batch_age": 1.0}
    name = "otlp"
    reads_answers = True

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 4318,
        path: str = "/v1/logs",
        tls: bool = False,
        token: str = "",
        token_file: str = "",
        headers: dict[str, str] | None = None,
        encoding: Literal["protobuf", "json"] = "protobuf",
        compression: str = "gzip",
        timeout: Seconds = 30.0,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        one_of("encoding", encoding, ("protobuf", "json"))
        if not tls and (ca_file or cert_file or key_file):
            raise ValueError("ca_file, cert_file, key_file: only with tls = true")
        self._packed = encoding == "protobuf"
        super().__init__(
            scheme="https" if tls else "http", host=host, port=port, path=path, token=token, token_file=token_file,
            compression=compression, timeout=timeout, verify=tls_context(ca_file, cert_file, key_file) if tls else False,
            headers={**_checked(headers or {}), "content-type": f"application/{'x-protobuf' if self._packed else 'json'}"},
        )  # fmt: skip
        self._counts["rejected_by_peer"] = 0
        self._told_partial = ""

    def stats(self) -> dict[str, int]:
        """`requests`, `request_bytes` of their bodies, `held`: put off, `halved`: refused and sent in halves, `rejected_by_peer`:
        records of partial successes."""
        return super().stats()

    def post(self, ident: str, deliveries: Sequence[Delivery]) -> Post:
        return Post("POST", self._url, protobuf_of(deliveries) if self._packed else json_of(deliveries))

    def taken(self, body: bytes, deliveries: Sequence[Delivery]) -> str:
        count, reason = _partial_success(body, packed=self._packed)
        if count <= 0:
            return ""
        self._counts["rejected_by_peer"] += count
        text = f"rejected by the peer: {reason or 'no reason told'}"
        if count >= len(deliveries):
            return text
        if text != self._told_partial:
            self._told_partial = text
            log.warning("output otlp: %s took a batch but for %d records, %s", self._url, count, text)
        return ""


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
            raise ValueError(f"headers: {name!r} is no name of a header")
        if name.lower() in {"content-type", "content-encoding", "content-length", "host", "transfer-encoding"}:
            raise ValueError(f"headers: {name} is made by the output itself")
        if not (value.isascii() and value.isprintable()):  # the value stays out: a secret
            raise ValueError(f"headers: the value of {name} wants printable ASCII without line ends")
    return {name.lower(): value for name, value in headers.items()}


class _Partial(msgspec.Struct, rename="camel"):
    rejected_log_records: int | str = 0
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


def _partial_success(body: bytes, *, packed: bool) -> tuple[int, str]:
    """How many records an ExportLogsServiceResponse says were rejected, and why; 0 for what cannot be read: the status is the receipt."""
    try:
        if not packed:
            told = msgspec.json.decode(body, type=_Answer).partial_success or _Partial()
            return int(told.rejected_log_records), told.error_message
        count, text = 0, ""
        budget = Budget(_PARTS)
        for outer, partial in fields(memoryview(body), budget):
            if outer == 1 and isinstance(partial, memoryview):
                for inner, value in fields(partial, budget):
                    if inner == 1 and isinstance(value, int):
                        count = value
                    elif inner == 2 and isinstance(value, memoryview):
                        text = str(value, "utf-8", "replace")
        return count, text
    except (msgspec.MsgspecError, ProtobufError, ValueError):
        return 0, ""
