"""Outputs `http` and `https`: batches to a collector with Bagheera's contract, such as another listener."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

import httpx
import msgspec

from metlog.errors import MetlogError
from metlog.listener.outputs import BaseOutput, Batch, Delivery, Rejected
from metlog.senders.http_client import RequestDeadline, beginning, check_options, compressor, retry_after
from metlog.senders.options import one_of
from metlog.senders.tcp import tls_context

__all__ = ["Held", "HttpOutput", "HttpsOutput"]

_AT_FAULT: Final = frozenset({400, 413, 422})
"""Answers that blame the body. All others blame the way there, or the moment: no event is given up for these."""
_ANSWER: Final = 4096
"""Bytes of an answer that are read, to tell the reason."""
_LONGEST: Final = 300.0
"""Seconds of a Retry-After that are honoured."""

_LASTING: Final = 180.0
"""Seconds after which an answer that stays the same is told as a fault of the configuration."""
_NAMESPACE: Final = uuid.UUID("6c3f5c3e-95d1-5a0e-9f0a-4d1c2f1f2a77")
"""Namespace (RFC 9562, section 5.5) of the ids that are made of batches' ids; it must never change."""

log = logging.getLogger("metlog.listener")

_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


class Held(MetlogError):
    """Not delivered now; the same batch is tried again."""


class HttpOutput(BaseOutput):
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
    is honoured. An answer that stays the same for minutes, a 404 above all, is told in `metlog status` and in the log: then it is
    the path or the namespace that is wrong, and not the moment. No header `X-Obsolete-Document` is ever sent.
    """

    scheme: ClassVar[str] = "http"
    _verify: ssl.SSLContext | bool = False
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
        timeout: float = 30.0,
    ) -> None:
        check_options(timeout=timeout, compression=compression, port=port, path=path, token=token)
        if token and token_file:
            raise ValueError("token, token_file: give one of them")
        try:
            self._url = httpx.URL(scheme=self.scheme, host=host, port=port, path=path.rstrip("/"))
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise ValueError(f"host = {host!r}, path = {path!r}: {error}") from error
        self._token, self._token_file = token, token_file
        self._compress = compressor(compression) or bytes
        self._encoding = {} if compression == "none" else {"content-encoding": compression}
        one_of("batch", batch, ("lines", "array", "single"))
        one_of("ids", ids, ("uuid", "batch"))
        self._batch, self._ids = batch, ids
        self._headers = {
            **self._encoding,
            "content-type": "application/x-ndjson" if batch == "lines" else "application/json",
        }
        self._timeout = timeout
        self._client: httpx.Client | None = None
        self._socket: socket.socket | None = None
        self._not_before = 0.0
        self._refused: tuple[int, float] | None = None  # the status of the answers since then, which put batches off
        self._told = False
        self._counts = dict.fromkeys(("requests", "request_bytes", "held", "halved"), 0)

    def describe(self) -> str:
        return str(self._url)

    def stats(self) -> dict[str, int]:
        """`requests`, `request_bytes` of their bodies, `held`: put off, `halved`: refused and sent in halves."""
        return dict(self._counts)

    def start(self) -> None:
        self._client = httpx.Client(
            verify=self._verify,
            timeout=self._timeout,
            trust_env=False,  # no proxies or passwords but those that are configured
            headers={"user-agent": "metlog", "accept-encoding": "identity"},
        )
        self._read_token()

    def _read_token(self) -> None:
        assert self._client is not None
        token = self._token
        if self._token_file:
            try:
                token = Path(self._token_file).read_text(encoding="ascii").split("\n", 1)[0].strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Held(f"token_file = {self._token_file!r}: cannot be read: {error}") from error
        if token:
            self._client.headers["authorization"] = f"Bearer {token}"

    def write(self, batch: Batch) -> None:
        wait = self._not_before - monotonic()
        if wait > 0:
            raise Held(f"{self._url} asked to wait, {wait:.0f} s more")
        rejected: list[tuple[Delivery, str]] = []
        # A half's id comes from its batch and its place: after a crash the same halves have the same ids.
        parts: list[tuple[str, Sequence[Delivery]]] = [(batch.id, batch.deliveries)]
        if self._batch == "single":
            alone = enumerate(batch.deliveries)
            parts = list(reversed([(f"{batch.id}.{number}", (delivery,)) for number, delivery in alone]))
        while parts:
            ident, deliveries = parts.pop()
            reason = self._put(ident, deliveries)
            if not reason:
                continue
            if len(deliveries) == 1:
                rejected.append((deliveries[0], reason))
                continue
            self._counts["halved"] += 1
            half = len(deliveries) // 2
            parts += [(f"{ident}.1", deliveries[half:]), (f"{ident}.0", deliveries[:half])]
        if rejected:
            raise Rejected(rejected)

    def _put(self, ident: str, deliveries: Sequence[Delivery]) -> str:
        """Sends some events: "" when they were taken, else why the body is refused. Raises `Held`."""
        assert self._client is not None
        body = self._compress(self._body([delivery.event for delivery in deliveries]))
        self._counts["requests"] += 1
        self._counts["request_bytes"] += len(body)
        name = str(uuid.uuid5(_NAMESPACE, ident)) if self._ids == "uuid" else quote(ident, safe=".~:@+-")
        url = self._url.copy_with(path=f"{self._url.path}/{name}")
        deadline = RequestDeadline(self._timeout, self._interrupt)  # httpx counts each read anew
        try:
            with (
                deadline,
                self._client.stream(
                    "PUT", url, content=body, headers=self._headers, extensions={"trace": self._trace}
                ) as answer,
            ):
                if answer.is_success:  # the status is the receipt, whatever becomes of the rest
                    if _is_short(answer):
                        _words(answer)  # to its end, so that the connection takes the next batch
                    self._refused, self._told = None, False
                    return ""
                text = f"{answer.status_code} {answer.reason_phrase}: {_words(answer)}"
        except httpx.HTTPError as error:
            self._counts["held"] += 1
            words = (
                f"timed out: no answer within {self._timeout:g} s"
                if deadline.over
                else str(error) or type(error).__name__
            )
            raise Held(f"{self._url}: {words}") from error
        if answer.status_code in _AT_FAULT:
            return text
        self._counts["held"] += 1
        self._not_before = monotonic() + min(retry_after(answer.headers.get("retry-after")) or 0.0, _LONGEST)
        if answer.status_code in {401, 403} and self._token_file:
            self._read_token()
        raise Held(f"{self._url}: {text}{self._lasting(answer.status_code)}")

    def _body(self, events: list[Any]) -> bytes:
        if self._batch == "lines":
            return _encode_lines(events)
        return _encode(events if self._batch == "array" else events[0])

    def _lasting(self, status: int) -> str:
        """What is to be said of an answer that stays the same: it is not the moment that is wrong."""
        now = monotonic()
        if self._refused is None or self._refused[0] != status:
            self._refused, self._told = (status, now), False
        minutes = (now - self._refused[1]) / 60
        if minutes < _LASTING / 60:
            return ""
        remedy = (
            "see `path`, its namespace and `ids`" if status == 404 else "see the collector's log, `path` and `token`"
        )
        words = f"; so for {minutes:.0f} min, and nothing is delivered meanwhile: {remedy}"
        if not self._told:
            self._told = True
            log.warning("output http: %s answers %d%s", self._url, status, words)
        return words

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keeps the socket of a new connection, so that the deadline can end whatever waits on it."""
        if event.partition(".")[2] in {"connect_tcp.complete", "start_tls.complete"}:
            self._socket = info["return_value"].get_extra_info("socket")

    def _interrupt(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it ended by itself
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


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
        timeout: float = 30.0,
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


def _is_short(answer: httpx.Response) -> bool:
    length = answer.headers.get("content-length", "")
    return length.isdecimal() and int(length) <= _ANSWER


def _words(answer: httpx.Response) -> str:
    """The first words of an answer; a collector that does not end it is not waited for."""
    return " ".join(beginning(answer, _ANSWER, 5.0)[:300].decode("utf-8", "replace").split())
