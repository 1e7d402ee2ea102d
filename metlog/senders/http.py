"""HTTP: a frame is the body of a POST."""

from __future__ import annotations

import encodings.idna
import os
import ssl
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final

import certifi
import httpcore
import httpx

from metlog.core.backoff import Backoff
from metlog.encoders import BaseEncoder
from metlog.encoders.wire import is_msgpack
from metlog.errors import SenderError
from metlog.plugins.conversion import Seconds, Size, shown
from metlog.senders._blocking import BlockingSender
from metlog.senders.http_client import (
    RequestDeadline,
    TracedSocket,
    beginning,
    check_name,
    check_options,
    compressor,
    proxy_of,
    reason_of,
    retry_after,
)
from metlog.senders.options import at_least, host_list, positive
from metlog.senders.tcp import tls_context

__all__ = ["HttpSender", "HttpsSender"]

FIRST_PAUSE, MOST_PAUSE = 0.25, 10.0
SMALL: Final = 256
"""Bytes below which compressing a body makes it no smaller."""

ANSWER_BYTES: Final = 65536
"""Bytes of an answer that are read, so that the connection can be used again."""

PROBE_WAIT: Final = 3.0
"""Seconds that `probe` waits for an answer."""

certifi.where()
IMPORTED: Final = (encodings.idna, httpcore)
"""What httpx, certifi and the resolver import with the first request, in the sender's thread: a child that was forked in the middle of an
import would wait for the import's lock without end."""

RETRIED: Final = {408, 425, 429}  # and 5xx: the same request may succeed later


class HttpSender(BlockingSender):
    """Posts each frame, and again, with growing pauses, while the server is away, busy (429) or failing (5xx).

    host, port
        Where to; port 80 (`https`: 443) when left out.
    path
        Path of the collector, `/submit/<namespace>` for a metlog listener.
    token
        Sent as `Authorization: Bearer …`.
    compression
        `gzip`, `zstd` (needs the package zstandard) or `none`.
    timeout
        Seconds for one request, from connecting to the end of the answer.
    give_up
        Seconds that one frame may take with all its requests; then it is lost. A `Retry-After` of the server is
        honoured up to so many seconds, once, on top.
    content_type
        By default that of the encoder: `application/x-ndjson` for `json`, `application/msgpack` for `msgpack`.
    proxy
        URL of a proxy. Proxies and passwords in the environment or ~/.netrc are not used.
    max_frame
        Bytes, before compression.

    `send` raises `metlog.errors.SenderError` with the reason `rejected` (any other answer than 2xx), `busy`,
    `server_error`, `refused`, `timeout`, `unresolved`, `tls`, `unreachable` or `closed`. A request whose answer was lost
    is repeated and may have been taken twice; its events' `seq` tells.
    """

    scheme = "http"
    _verify: ssl.SSLContext | bool = True

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        path: str = "/submit/metlog",
        token: str | None = None,
        compression: str = "gzip",
        timeout: Seconds = 10.0,
        give_up: Seconds = 60.0,
        content_type: str | None = None,
        proxy: str | None = None,
        max_frame: Size = 262144,
    ) -> None:
        positive("give_up", give_up, "seconds")
        at_least("max_frame", max_frame, 64, "bytes")
        check_options(timeout=timeout, compression=compression, port=port, path=path, token=token)
        hosts = host_list(host)
        if len(hosts) > 1:
            raise ValueError(f"host = {host!r}: wants one host; name several senders under `fallback` instead")
        self.max_frame = max_frame
        self.timeout, self.give_up, self.content_type = timeout, give_up, content_type
        self._compress = compressor(compression)
        self._encoding = compression
        try:
            self.url = httpx.URL(scheme=self.scheme, host=hosts[0], port=port, raw_path=path.encode("ascii"))
            check_name(self.url)
            self._proxy = None if proxy is None else proxy_of(proxy)
            self._way = "" if self._proxy is None else f" (by the proxy {self._proxy.url.copy_with(userinfo=b'')})"
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise ValueError(f"host = {host!r}, path = {path!r}, proxy = {shown('proxy', proxy)}: {error}") from error
        self._headers = {"User-Agent": "metlog", "Accept-Encoding": "identity"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._encoded: str | None = None
        self._client: httpx.Client | None = None
        self._connection = TracedSocket()
        super().__init__()

    def _fresh_state(self) -> None:
        super()._fresh_state()
        self._owner = os.getpid()
        self._backoff = Backoff(FIRST_PAUSE, MOST_PAUSE)
        self._not_before = 0.0
        self._asked = False
        """Whether the server asked for the pause until `_not_before`."""
        self._last_error = SenderError("no answer", reason="timeout")

    def encoded_by(self, encoder: BaseEncoder) -> None:
        """Takes the media type of the encoder's frames for the header `Content-Type`, unless an option says another."""
        self._encoded = encoder.content_type

    def _send(self, frame: bytes) -> None:
        body, headers = self._request(frame)
        end = self._deadline.until(self.give_up)
        extended = told = False
        if self._asked and (pause := self._not_before - monotonic()) > 0:  # after the pause the frame has all its time
            end, extended = self._deadline.until(self.give_up + pause), True
        while True:
            pause = self._not_before - monotonic()
            if pause > 0 and (monotonic() + pause >= end or not self._deadline.sleep(pause)):
                raise self._last_error
            try:
                self._post(body, headers, end)
            except _LaterError as later:
                # The last request has only the rest of the time: that it timed out says less than the error before it.
                if not told or later.error.reason != "timeout":
                    self._last_error, told = later.error, True
                pause = self._backoff.pause()
                if later.seconds is not None:
                    pause = max(pause, min(later.seconds, self.give_up))
                    if not extended:
                        end, extended = self._deadline.until(end - monotonic() + pause), True
                self._not_before, self._asked = monotonic() + pause, later.seconds is not None
                if self._deadline.closed:
                    raise later.error from later
            else:
                self._backoff.reset()
                self._not_before = 0.0
                return

    def _request(self, frame: bytes) -> tuple[bytes, dict[str, str]]:
        headers = {**self._headers, "Content-Type": self.content_type or self._encoded or _media_type(frame)}
        if self._compress is None or len(frame) < SMALL:
            return frame, headers
        headers["Content-Encoding"] = self._encoding
        return self._compress(frame), headers

    def _post(self, body: bytes, headers: dict[str, str], end: float) -> None:
        """Makes one request, and returns on 2xx. Raises SenderError where the server refuses the frame, _LaterError where the same
        request may succeed later."""
        left = max(0.001, min(self.timeout, end - monotonic()))
        if self._client is None:
            self._client = httpx.Client(verify=self._verify, proxy=self._proxy, trust_env=False)
        request = self._client.build_request(
            "POST", self.url, content=body, headers=headers, timeout=left, extensions={"trace": self._trace}
        )
        with RequestDeadline(left, self.interrupt) as deadline:  # the timeout of httpx begins anew with each read
            try:
                answer = self._client.send(request, stream=True)
            except httpx.HTTPError as error:
                if deadline.over or isinstance(error, httpx.TimeoutException):
                    raise _LaterError(self._error(f"no answer within {left:.3g} s", "timeout")) from error
                raise _LaterError(self._error(str(error) or type(error).__name__, reason_of(error))) from error
            try:
                text = beginning(answer, ANSWER_BYTES)
            finally:
                answer.close()
        if answer.is_success:  # the status is the receipt, even if the rest is lost
            return
        words = f"{answer.status_code} {answer.reason_phrase}: {text[:200].decode('utf-8', 'replace').strip()}"
        if answer.status_code in RETRIED or answer.status_code >= 500:
            reason = "busy" if answer.status_code in {429, 503} else "server_error"
            raise _LaterError(self._error(words, reason), retry_after(answer.headers.get("retry-after")))
        raise self._error(words, "rejected")

    def probe(self) -> Iterator[str | SenderError]:
        """Requests the path without submitting anything (HEAD), with the token."""
        with httpx.Client(verify=self._verify, proxy=self._proxy, trust_env=False) as client:
            try:
                answer = client.head(self.url, headers=self._headers, timeout=min(self.timeout, PROBE_WAIT))
            except httpx.HTTPError as error:
                yield self._error(str(error) or type(error).__name__, reason_of(error))
                return
        words = f"answers {answer.status_code} {answer.reason_phrase}".rstrip()
        if answer.status_code == 401:
            yield self._error(f"{words}: the token is not taken", "unauthorized")
        elif answer.status_code == 404:
            yield self._error(f"{words}: nothing is taken under this path", "no_such_path")
        elif answer.status_code >= 500:
            yield self._error(words, "server_error")
        else:  # most collectors accept POST only, and answer so
            yield f"{self.url} {words}"

    def _error(self, words: str, reason: str) -> SenderError:
        return SenderError(f"{self.url}{self._way}: {words}", reason=reason)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keeps the socket of a new connection, so that `close` can wake a call that waits on it."""
        self._connection.trace(event, info)
        if self._deadline.closed:
            self.interrupt()

    def interrupt(self) -> None:
        self._connection.interrupt()

    def _release(self) -> None:
        client, self._client = self._client, None
        held = self._connection.forget()
        if client is None:
            return
        if self._owner == os.getpid():
            client.close()
        elif held is not None:  # a forked child: the client's locks may be held by a thread that is not here
            held.close()


def _media_type(frame: bytes) -> str:
    """What a frame is, by its first byte: for a sender that is used without a client."""
    if is_msgpack(frame):
        return "application/msgpack"
    return "application/x-ndjson" if frame[:1] in b"{[" else "application/octet-stream"


class HttpsSender(HttpSender):
    """HTTP over TLS, with these options beside those of `http`:

    ca_file
        PEM file of the authorities to trust; the system's when left out.
    cert_file, key_file
        PEM files of our own certificate and key, where the server asks for one.
    """

    scheme = "https"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        path: str = "/submit/metlog",
        token: str | None = None,
        compression: str = "gzip",
        timeout: Seconds = 10.0,
        give_up: Seconds = 60.0,
        content_type: str | None = None,
        proxy: str | None = None,
        max_frame: Size = 262144,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        verify = tls_context(ca_file, cert_file, key_file)
        super().__init__(
            host=host, port=port, path=path, token=token, compression=compression, timeout=timeout, give_up=give_up,
            content_type=content_type, proxy=proxy, max_frame=max_frame,
        )  # fmt: skip
        self._verify = verify


class _LaterError(Exception):
    """The same request may succeed later; `seconds` is how long the server asks to wait."""

    def __init__(self, error: SenderError, seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.seconds = error, seconds
