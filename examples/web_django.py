"""A Django application in one file that logs its requests. Run it, then: curl http://127.0.0.1:8000/orders/17/

Events go to standard output; METLOG_SENDER=udp://127.0.0.1:5565 sends them to a listener. `application` is for WSGI servers,
`asgi_application` for ASGI servers: the same line in both.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path, re_path

import metlog
from metlog.integrations.asgi import MetlogMiddleware as AsgiMiddleware
from metlog.integrations.wsgi import MetlogMiddleware

metlog.configure(os.environ.get("METLOG_SENDER", "stdout:"), logger="shop")


def order(request: HttpRequest, number: int) -> HttpResponse:
    """One order."""
    metlog.context(user="u1")  # on the request's own event, and on all that is logged below
    return JsonResponse({"order": int(number)})


def export(request: HttpRequest) -> StreamingHttpResponse:
    """All orders, in pieces: the request's time ends with the last of them."""

    def pieces() -> Iterator[str]:
        for number in range(3):
            yield f"{number}\n"

    return StreamingHttpResponse(pieces(), content_type="text/plain")


def broken(request: HttpRequest) -> HttpResponse:
    """Fails: Django answers with status 500, and the event has severity 3."""
    raise LookupError("no such thing")


urlpatterns = [
    path("orders/<int:number>/", order),
    path("archive/", include([re_path(r"^orders/(?P<number>[0-9]{4,})/$", order)])),
    path("export/", export),
    path("broken/", broken),
]

if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.urandom(16).hex())
    django.setup()

application = MetlogMiddleware(get_wsgi_application())  # the one line
asgi_application = AsgiMiddleware(get_asgi_application())  # or this one

if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    port = int(os.environ.get("PORT", "8000"))
    with make_server("127.0.0.1", port, application) as server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
