"""Login with a token, for browsers: the token becomes a session's cookie."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from metlog.web.errors import Refused
from metlog.web.forms import form, query_of
from metlog.web.security import COOKIE, client_of, from_proxy, require_csrf
from metlog.web.state import page_of

__all__ = ["address", "login", "logout"]


def address(request: Request) -> str:
    """Where to log in, to come back here afterwards."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/login?" + urlencode({"next": wanted})


def _local(target: str) -> str:
    """A path of ours, or the start: never another site's."""
    inside = target.startswith("/") and not target.startswith("//") and not any(c in target for c in "\\\r\n\t")
    return target if inside else "/"


async def login(request: Request) -> Response:
    """`/login`."""
    page = page_of(request)
    if not page.settings.tokens:
        raise Refused(404, "nobody logs in here: this page demands no token")
    if request.method != "POST":
        return page.views.render(
            request, "login.html", {"next": _local(query_of(request).get("next", "/")), "problem": ""}
        )
    given = await form(request, 10_000)
    request.state.access = None
    require_csrf(request, given.get("csrf"))
    target = _local(given.get("next", "/"))
    access = page.sessions.token(
        given.get("token", "").strip(), client_of(request, page.settings), page.settings.tokens
    )
    if access is None:
        return page.views.render(
            request, "login.html", {"next": target, "problem": "This token is not known here."}, 401
        )
    response = RedirectResponse(target, 303)
    response.set_cookie(
        COOKIE, page.sessions.open(access), httponly=True, samesite="strict", secure=_encrypted(request), path="/"
    )
    return response


async def logout(request: Request) -> Response:
    """`POST /logout`."""
    page = page_of(request)
    given = await form(request, 10_000)
    require_csrf(request, given.get("csrf"))
    page.sessions.close(request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def _encrypted(request: Request) -> bool:
    """Whether the browser reached us over TLS, as a trusted proxy says."""
    if from_proxy(request, page_of(request).settings):
        return request.headers.get("x-forwarded-proto", "") == "https"
    return request.url.scheme == "https"
