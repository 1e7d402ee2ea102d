"""What stands before every page: headers, host names, where a request comes from, who sends it."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metlog.web.connections import network_of
from metlog.web.errors import Refused
from metlog.web.settings import Access, WebSettings, is_loopback, token_digest

__all__ = ["COOKIE", "AccessMiddleware", "SecurityHeaders", "Sessions", "client_of", "csrf_token", "require_csrf"]

COOKIE: Final = "metlog_session"
_OPEN: Final = ("/static/", "/healthz", "/login")
"""Paths that hold nothing of the data."""
_SAFE: Final = frozenset({"GET", "HEAD"})
_LIFETIME: Final = 12 * 3600
_MOST_SESSIONS: Final = 10_000
_SESSIONS_EACH: Final = 100
"""Sessions of one token; the oldest is closed for another."""
_TRIES: Final = 10
"""Wrong tokens of an address in a minute that are told apart from too many."""
_ADDRESSES: Final = 1000
"""Addresses of which wrong tokens are remembered."""

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class SecurityHeaders:
    """Puts the policy on every answer, refusals included; nothing of the data is kept in a cache."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


class Sessions:
    """Who has logged in: random ids in memory, gone when the page is restarted."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[Access, float]] = {}
        self._failures: dict[str, list[float]] = {}

    def open(self, access: Access) -> str:
        """A new id, for a cookie."""
        now = time.monotonic()
        mine = [key for key, (other, _) in self._sessions.items() if other.name == access.name]
        for old in mine[: len(mine) + 1 - _SESSIONS_EACH]:
            del self._sessions[old]
        if len(self._sessions) >= _MOST_SESSIONS:
            self._sessions = {key: entry for key, entry in self._sessions.items() if entry[1] > now}
            while len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
        key = secrets.token_urlsafe(32)
        self._sessions[key] = (access, now + _LIFETIME)
        return key

    def get(self, key: str) -> Access | None:
        """None when there is no such session, or it is over."""
        access, until = self._sessions.get(key, (None, 0.0))
        return access if until > time.monotonic() else None

    def close(self, key: str) -> None:
        self._sessions.pop(key, None)

    def failed(self, address: str) -> bool:
        """Notes a wrong token; True when the address has sent too many of them within a minute."""
        now = time.monotonic()
        recent = [moment for moment in self._failures.pop(address, ()) if moment > now - 60]
        self._failures[address] = [*recent, now][-_TRIES:]  # the last that was heard of
        if len(self._failures) > _ADDRESSES:
            del self._failures[next(iter(self._failures))]
        return len(recent) >= _TRIES

    def token(self, text: str, address: str, tokens: Mapping[bytes, Access]) -> Access | None:
        """The access that a token gives. A right one is always taken, whatever else came from its address: behind a proxy that is
        everybody's. Raises Refused 429 for a wrong one after too many others."""
        digest = token_digest(text)
        found = None
        for known, access in tokens.items():  # all of them, so that the time says nothing
            if hmac.compare_digest(known, digest):
                found = access
        if found is None and self.failed(address):
            raise Refused(429, "too many wrong tokens; try again in a minute", headers={"Retry-After": "60"})
        return found


class AccessMiddleware:
    """Lets a request in when it asks for this page by a name of ours, comes from no other site, and says who it is.

    The visitor's `Access` is `request.state.access` afterwards. Raises Refused.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings, sessions: Sessions) -> None:
        self.app = app
        self.settings = settings
        self.sessions = sessions
        names = {"localhost", *settings.allowed_hosts}
        if not settings.loopback:
            names |= {settings.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        self.names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            self.check_host(request)
            self.check_origin(request)
            path = scope["path"]
            try:
                request.state.access = self.identify(request)
            except Refused as refused:
                if not path.startswith(_OPEN):
                    raise
                if refused.status == 429:
                    raise
                request.state.access = None
        await self.app(scope, receive, send)

    def check_host(self, request: Request) -> None:
        """A page of somebody else whose name has been made to point here (DNS rebinding) must not read it."""
        given = request.headers.getlist("host")
        name = _host_name(given[0]) if len(given) == 1 else None
        if name is None or (name not in self.names and not self._address(name)):
            raise Refused(
                403,
                f"this page is not known under the host name {name or ''!r}; start it with --allow-host to allow that name",
                kind="host",
            )

    def _address(self, name: str) -> bool:
        """An address cannot be made to point elsewhere; on loopback only loopback's own are expected."""
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not is_loopback(self.settings.host)

    def check_origin(self, request: Request) -> None:
        """Other sites may link to a page; they may neither post to it nor have a browser fetch from it."""
        headers = request.headers
        site = headers.get("sec-fetch-site")
        safe = request.method in _SAFE
        if site in {"cross-site", "same-site"}:
            navigates = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
            if not (safe and navigates):
                raise Refused(403, "this request comes from another site", kind="origin")
        origin = headers.get("origin")
        if site == "same-origin":  # the browser's own word; under `no-referrer` its Origin is `null` for our own forms
            return
        if origin is not None and not safe and not _same_host(origin, headers):
            raise Refused(403, "this request comes from another site", kind="origin")

    def identify(self, request: Request) -> Access:
        """Who is asking. Raises Refused 401, 403 or 429."""
        settings = self.settings
        if not settings.demands:
            return Access("local", save=settings.save)
        found = self._bearer(request) or self.sessions.get(request.cookies.get(COOKIE, "")) or self._proxied(request)
        if found is None:
            raise Refused(401, _who(settings), headers={"WWW-Authenticate": 'Bearer realm="metlog"'}, kind="token")
        return found if settings.save else Access(found.name, found.loggers, save=False)

    def _bearer(self, request: Request) -> Access | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return (
            self.sessions.token(token.strip(), client_of(request, self.settings), self.settings.tokens)
            if scheme.lower() == "bearer"
            else None
        )

    def _proxied(self, request: Request) -> Access | None:
        header = self.settings.user_header
        if header is None or not from_proxy(request, self.settings):
            return None
        names = request.headers.getlist(header)
        if len(names) != 1 or not names[0].strip():
            return None
        name = names[0].strip()
        if not self.settings.users:
            return Access(name)
        if name not in self.settings.users:
            raise Refused(403, f"user {name!r} has no access to this page", kind="user")
        return self.settings.users[name]


def client_of(request: Request, settings: WebSettings) -> str:
    """The address of the client, its /64 for IPv6; as the last proxy names it where that is one whose headers are believed."""
    address = request.client.host if request.client else ""
    if from_proxy(request, settings):
        # Some proxies add a header of their own behind one that the client sent: the last word of the last one is theirs.
        named = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
        address = named if named and len(named) <= 64 else address
    return network_of(address)


def from_proxy(request: Request, settings: WebSettings) -> bool:
    """Whether the connection comes from an address whose headers are believed."""
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return any(address in network for network in settings.trusted_proxies)


def _who(settings: WebSettings) -> str:
    if settings.tokens:
        return "a token is needed: log in, or send it as `Authorization: Bearer …`"
    return f"this page is to be reached through its reverse proxy, which says who you are ({settings.user_header})"


def _host_name(text: str) -> str | None:
    try:
        parts = urlsplit(f"//{text}")
        _ = parts.port
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None or not parts.hostname:
        return None
    return parts.hostname.rstrip(".").lower()


def _same_host(origin: str, headers: Headers) -> bool:
    try:
        return origin != "null" and urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:  # half of an IPv6 address
        return False


_SECRET: Final = secrets.token_bytes(32)


def csrf_token(request: Request) -> str:
    """Goes into every form that changes something; another site can neither read nor guess it."""
    session = request.cookies.get(COOKIE, "")
    access = request.state.access
    return hmac.new(_SECRET, f"{access.name if access else ''}\0{session}".encode(), "sha256").hexdigest()


def require_csrf(request: Request, given: object) -> None:
    """Raises Refused 403 when a form does not bring its token back."""
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), csrf_token(request).encode()):
        raise Refused(403, "this form is too old, or not from this page; load the page again and repeat", kind="csrf")
