"""Batches as requests of HTTP: what the outputs `http` and `otlp` share.

One request holds a batch, or a part of it. What the body is to blame for is sent again in halves, until the events at fault are found;
anything else puts the batch off, for as long as a `Retry-After` says.
"""

from __future__ import annotations

import logging
import ssl
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

import httpx

from metlog.listener.outputs import BaseOutput, Batch, Delivery, Rejected, Undelivered
from metlog.senders.http_client import RequestDeadline, TracedSocket, beginning, check_options, compressor, retry_after
from metlog.senders.options import at_most
from metlog.values import whole_number

__all__ = ["Posting", "Post"]

_AT_FAULT: Final = frozenset({400, 413, 422})
"""Answers by which the body is at fault. By all others the collector or the way there is, and no event is given up."""
_ANSWER: Final = 4096
"""Bytes of an answer that are read, to tell the reason."""
_LONGEST: Final = 300.0
"""Seconds of a Retry-After that are honoured."""

_LASTING: Final = 180.0
"""Seconds after which an answer that stays the same is told as a fault of the configuration."""

log = logging.getLogger("metlog.listener")


class Post(NamedTuple):
    """One request; the body is compressed on its way."""

    method: str
    url: httpx.URL
    body: bytes


class Posting(BaseOutput):
    """Sends each batch as one request. Subclasses write `post`.

    Raises ValueError that names the option at fault.
    """

    name = "http"
    """How the log names the output."""
    reads_answers = False
    """Whether an answer of success says more than that, so that it is read, however long it may be."""

    def __init__(
        self, *, scheme: str, host: str, port: int | None, path: str, token: str, token_file: str, compression: str,
        timeout: float, headers: Mapping[str, str], verify: ssl.SSLContext | bool = False,
    ) -> None:  # fmt: skip
        check_options(timeout=timeout, compression=compression, port=port, path=path, token=token)
        at_most("timeout", timeout, 86_400, "seconds")  # a socket takes 24 days
        if token and token_file:
            raise ValueError("token, token_file: give one of them")
        try:
            self._url = httpx.URL(scheme=scheme, host=host, port=port, path=path.rstrip("/"))
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise ValueError(f"host = {host!r}, path = {path!r}: {error}") from error
        self._token, self._token_file = token, token_file
        self._compress = compressor(compression) or bytes
        self._headers = {**({} if compression == "none" else {"content-encoding": compression}), **headers}
        self._timeout = timeout
        self._verify = verify
        self._client: httpx.Client | None = None
        self._connection = TracedSocket()
        self._not_before = 0.0
        self._refused: tuple[int, float] | None = None  # the status of the answers since then, which put batches off
        self._told = False
        self._counts = dict.fromkeys(("requests", "request_bytes", "held", "halved"), 0)

    def post(self, ident: str, deliveries: Sequence[Delivery]) -> Post:
        """Returns the request for some deliveries; `ident` is always the same for the same ones."""
        raise NotImplementedError

    def parts(self, batch: Batch) -> list[tuple[str, Sequence[Delivery]]]:
        """Returns what of a batch goes as a request each, the first one last."""
        return [(batch.id, batch.deliveries)]

    def taken(self, body: bytes, deliveries: Sequence[Delivery]) -> str:
        """Returns why all of what was answered with success is refused nevertheless, else ""; `body` is the beginning of the answer."""
        return ""

    def remedy(self, status: int) -> str:
        """Returns what is to be looked at when the peer's answer stays the same."""
        return "see the collector's log, `path` and `token`"

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
                text = Path(self._token_file).read_bytes().removeprefix(BOM_UTF8).decode("ascii")
                token = text.split("\n", 1)[0].strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Undelivered(f"token_file = {self._token_file!r}: cannot be read: {error}") from error
        if token:
            self._client.headers["authorization"] = f"Bearer {token}"

    def write(self, batch: Batch) -> None:
        wait = self._not_before - monotonic()
        if wait > 0:
            raise Undelivered(f"{self._url} asked to wait, {wait:.0f} s more")
        rejected: list[tuple[Delivery, str]] = []
        # A half's id comes from its batch and its place: after a crash the same halves have the same ids.
        parts = self.parts(batch)
        while parts:
            ident, deliveries = parts.pop()
            reason, halves = self._put(ident, deliveries)
            if not reason:
                continue
            if len(deliveries) == 1 or not halves:
                rejected += [(delivery, reason) for delivery in deliveries]
                continue
            self._counts["halved"] += 1
            half = len(deliveries) // 2
            parts += [(f"{ident}.1", deliveries[half:]), (f"{ident}.0", deliveries[:half])]
        if rejected:
            raise Rejected(rejected)

    def _put(self, ident: str, deliveries: Sequence[Delivery]) -> tuple[str, bool]:
        """Sends some events: "" when they were taken, else why they are refused, and whether some of them may be taken alone.
        Raises `Undelivered`."""
        assert self._client is not None
        method, url, plain = self.post(ident, deliveries)
        body = self._compress(plain)
        self._counts["requests"] += 1
        self._counts["request_bytes"] += len(body)
        deadline = RequestDeadline(self._timeout, self._connection.interrupt)  # httpx counts each read anew
        try:
            with (
                deadline,
                self._client.stream(
                    method, url, content=body, headers=self._headers, extensions={"trace": self._connection.trace}
                ) as answer,
            ):
                if answer.is_success:  # the status is the receipt, whatever becomes of the rest
                    # Read to its end, so that the connection takes the next batch.
                    said = beginning(answer, _ANSWER, 5.0) if self.reads_answers or _is_short(answer) else b""
                    self._refused, self._told = None, False
                    return self.taken(said, deliveries), False
                text = f"{answer.status_code} {answer.reason_phrase}: {_words(answer)}"
        except httpx.HTTPError as error:
            self._counts["held"] += 1
            words = (
                f"timed out: no answer within {self._timeout:g} s"
                if deadline.over
                else str(error) or type(error).__name__
            )
            raise Undelivered(f"{self._url}: {words}") from error
        if answer.status_code in _AT_FAULT:
            return text, True
        self._counts["held"] += 1
        self._not_before = monotonic() + min(retry_after(answer.headers.get("retry-after")) or 0.0, _LONGEST)
        if answer.status_code in {401, 403} and self._token_file:
            self._read_token()
        raise Undelivered(f"{self._url}: {text}{self._lasting(answer.status_code)}")

    def _lasting(self, status: int) -> str:
        """What is added to the error once the same answer has come for minutes: then the settings are wrong, most likely."""
        now = monotonic()
        if self._refused is None or self._refused[0] != status:
            self._refused, self._told = (status, now), False
        minutes = (now - self._refused[1]) / 60
        if minutes < _LASTING / 60:
            return ""
        words = f"; so for {minutes:.0f} min, and nothing is delivered meanwhile: {self.remedy(status)}"
        if not self._told:
            self._told = True
            log.warning("output %s: %s answers %d%s", self.name, self._url, status, words)
        return words

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def _is_short(answer: httpx.Response) -> bool:
    length = whole_number(answer.headers.get("content-length", ""))
    return length is not None and length <= _ANSWER


def _words(answer: httpx.Response) -> str:
    """The first words of an answer; a collector that does not end it is not waited for."""
    return " ".join(beginning(answer, _ANSWER, 5.0)[:300].decode("utf-8", "replace").split())
