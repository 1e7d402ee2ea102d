"""Target `webhook`: a notice as JSON, posted to a URL."""

from __future__ import annotations

import contextlib
import hmac
import os
import time
from codecs import BOM_UTF8
from pathlib import Path
from typing import Final

import httpx
import msgspec

from metlog.alerts.targets import BaseTarget, Notice, Submit
from metlog.errors import MetlogError
from metlog.senders.http_client import RequestDeadline, TracedSocket, beginning
from metlog.senders.options import positive

__all__ = ["WebhookTarget"]

_ANSWER: Final = 300
"""Characters of an answer that are told."""


class NotTaken(MetlogError):
    """The answer was no success, or there was none."""


class WebhookTarget(BaseTarget):
    """Posts each notice as JSON. An answer of 2xx means that it was taken.

    url
        Where to, `http://` or `https://`, without user name and password.
    headers
        Further headers, as they are.
    headers_env
        Headers whose value is that of an environment variable: `{ Authorization = "HOOK_TOKEN" }`.
    secret_env, secret_file
        The environment variable, or the file, that holds a secret to sign with: `X-Metlog-Signature` is then `sha256=` and the HMAC-SHA256
        (hexadecimal) of `X-Metlog-Timestamp` (seconds since the epoch), a dot and the body.
    timeout
        Seconds for one request, from connecting to the head of the answer.
    """

    def __init__(
        self,
        *,
        url: str,
        headers: dict[str, str] | None = None,
        headers_env: dict[str, str] | None = None,
        secret_env: str = "",
        secret_file: str = "",
        timeout: float = 10.0,
    ) -> None:
        positive("timeout", timeout, "seconds")
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"url: {error}") from None
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise ValueError("url: wants http:// or https:// and a host")
        if self._url.userinfo:
            raise ValueError("url: must not hold a user name or password; see headers_env")
        if secret_env and secret_file:
            raise ValueError("secret_env, secret_file: give one of them")
        for name, value in (headers or {}).items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"headers: the value of {name} wants printable ASCII without line ends")
        self._headers, self._headers_env = dict(headers or {}), dict(headers_env or {})
        self._secret_env, self._secret_file = secret_env, secret_file
        self._timeout = timeout

    def bind(self, submit: Submit | None) -> None:
        """Raises ValueError for an environment variable that is not set, or a file that cannot be read: no notice would be sent."""
        try:
            for variable in self._headers_env.values():
                _of_environment(variable)
            self._secret()
        except NotTaken as error:
            raise ValueError(str(error)) from None

    def describe(self) -> str:
        """The URL without path and query, which are secrets of many services."""
        return f"webhook {self._url.scheme}://{self._url.netloc.decode()}/…"

    def send(self, notice: Notice) -> None:
        body = msgspec.json.encode(notice)
        headers = {**self._headers, "content-type": "application/json", "user-agent": "metlog"}
        for name, variable in self._headers_env.items():
            headers[name] = _of_environment(variable)
        if secret := self._secret():
            moment = str(int(time.time()))
            mac = hmac.new(secret, moment.encode() + b"." + body, "sha256").hexdigest()
            headers |= {"x-metlog-timestamp": moment, "x-metlog-signature": f"sha256={mac}"}
        connection = TracedSocket()
        # The timeout of httpx begins anew with each read.
        deadline = RequestDeadline(self._timeout, connection.interrupt)
        try:
            with (
                httpx.Client(timeout=self._timeout, trust_env=False, follow_redirects=False) as client,
                deadline,
                client.stream(
                    "POST", self._url, content=body, headers=headers, extensions={"trace": connection.trace}
                ) as answer,
            ):
                said = beginning(answer, _ANSWER, 2.0)[:_ANSWER].decode("utf-8", "replace")
        except httpx.HTTPError as error:
            words = f"no answer within {self._timeout:g} s" if deadline.over else str(error) or type(error).__name__
            raise NotTaken(f"{self.describe()}: {words}") from error
        if not answer.is_success:
            raise NotTaken(f"{self.describe()}: {answer.status_code} {answer.reason_phrase}: {' '.join(said.split())}")

    def _secret(self) -> bytes:
        if self._secret_env:
            return _of_environment(self._secret_env).encode()
        if not self._secret_file:
            return b""
        secret = b""
        with contextlib.suppress(OSError):
            secret = Path(self._secret_file).read_bytes().removeprefix(BOM_UTF8).split(b"\n", 1)[0].strip()
        if not secret:
            raise NotTaken(f"secret_file = {self._secret_file!r}: cannot be read, or is empty")
        return secret


def _of_environment(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise NotTaken(f"the environment variable {variable} is not set; set it for the process that runs the alerts")
    return value
