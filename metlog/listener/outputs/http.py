"""Outputs `http` and `https`: batches to a collector with Bagheera's contract, such as another listener."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

import msgspec

from metlog.listener.outputs import Batch, Delivery
from metlog.listener.outputs._posting import Post, Posting
from metlog.plugins.conversion import Seconds
from metlog.senders.options import one_of
from metlog.senders.tcp import tls_context

__all__ = ["HttpOutput", "HttpsOutput"]

_NAMESPACE: Final = uuid.UUID("6c3f5c3e-95d1-5a0e-9f0a-4d1c2f1f2a77")
"""Namespace (RFC 9562, section 5.5) of the ids that are made of batches' ids; it must never change."""

_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


class HttpOutput(Posting):
    """Puts each batch to `path/ID`, the batch's id, so that a receiver that knows ids (a metlog listener does) takes a
    repeated one once.

    host, port
        Where to; port 80 (`https`: 443) when left out.
    path
        Path of the collector, `/submit/<namespace>` for a metlog listener, which gives the namespace as `logger` to
        events that have none.
    token, token_file
        Sent as `Authorization: Bearer …`; the file's first line, read again for each try after a 401 or 403.
    compression
        `gzip`, `zstd` or `none`. A stock Bagheera takes `gzip` and `none`.
    batch
        What one request holds: `lines` (one event a line, `application/x-ndjson`), `array` (a JSON array) or `single` (one event,
        and so a request an event).
    ids
        `uuid`: the id in the path is a UUID (version 5) made of the batch's id, always the same for the same batch; a stock
        Bagheera answers 404 to any other. `batch`: the batch's id itself.
    timeout
        Seconds for one request, from connecting to the answer.

    What is answered with 400, 413 or 422 is sent again in halves, until the events at fault are found: these are
    rejected. After any other answer, or none, the whole batch is tried again, for as long as it takes; a `Retry-After`
    is honoured. An answer that stays the same for minutes, a 404 above all, is told in `metlog status` and in the log: then the path or
    the namespace is wrong. No header `X-Obsolete-Document` is ever sent.
    """

    scheme: ClassVar[str] = "http"
    batch_defaults: ClassVar[dict[str, Any]] = {"batch_events": 5000, "batch_bytes": 1 << 20, "batch_age": 1.0}

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        path: str = "/submit/metlog",
        token: str = "",
        token_file: str = "",
        compression: str = "gzip",
        batch: Literal["lines", "array", "single"] = "lines",
        ids: Literal["uuid", "batch"] = "uuid",
        timeout: Seconds = 30.0,
    ) -> None:
        one_of("batch", batch, ("lines", "array", "single"))
        one_of("ids", ids, ("uuid", "batch"))
        kind = "application/x-ndjson" if batch == "lines" else "application/json"
        super().__init__(
            scheme=self.scheme, host=host, port=port, path=path, token=token, token_file=token_file,
            compression=compression, timeout=timeout, headers={"content-type": kind},
        )  # fmt: skip
        self._batch, self._ids = batch, ids

    def parts(self, batch: Batch) -> list[tuple[str, Sequence[Delivery]]]:
        if self._batch != "single":
            return super().parts(batch)
        alone = reversed(list(enumerate(batch.deliveries)))
        return [(f"{batch.id}.{number}", [delivery]) for number, delivery in alone]

    def post(self, ident: str, deliveries: Sequence[Delivery]) -> Post:
        name = str(uuid.uuid5(_NAMESPACE, ident)) if self._ids == "uuid" else quote(ident, safe=".~:@+-")
        events = [delivery.event for delivery in deliveries]
        return Post("PUT", self._url.copy_with(path=f"{self._url.path}/{name}"), self._body(events))

    def _body(self, events: list[Any]) -> bytes:
        if self._batch == "lines":
            return _encode_lines(events)
        return _encode(events if self._batch == "array" else events[0])

    def remedy(self, status: int) -> str:
        return "see `path`, its namespace and `ids`" if status == 404 else super().remedy(status)


class HttpsOutput(HttpOutput):
    """HTTP over TLS, with these options beside those of `http`:

    ca_file
        PEM file of the authorities to trust; the system's when left out.
    cert_file, key_file
        PEM files of our own certificate and key, where the collector asks for one.
    """

    scheme: ClassVar[str] = "https"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        path: str = "/submit/metlog",
        token: str = "",
        token_file: str = "",
        compression: str = "gzip",
        batch: Literal["lines", "array", "single"] = "lines",
        ids: Literal["uuid", "batch"] = "uuid",
        timeout: Seconds = 30.0,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        verify = tls_context(ca_file, cert_file, key_file)
        super().__init__(
            host=host,
            port=port,
            path=path,
            token=token,
            token_file=token_file,
            compression=compression,
            batch=batch,
            ids=ids,
            timeout=timeout,
        )
        self._verify = verify
