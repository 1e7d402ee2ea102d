"""Middleware for WSGI (PEP 3333): Flask, Django, or a bare application, with one line.

application = MetlogMiddleware(application)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

from metlog.context import start_request
from metlog.integrations._request import Recorder, safe_path

__all__ = ["MetlogMiddleware"]

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class MetlogMiddleware:
    """Logs every request of a WSGI application when its last byte is out, or it failed; options as for `Recorder`.

    The route is that of the framework where it leaves one in the environ (Flask's `url_rule`, Django's `resolver_match`, or what
    `route(environ)` gives), else the path with its identifiers taken out. What `metlog.context(…)` adds below, in threads
    that copied the context too, is on the request's own event.
    """

    def __init__(self, application: Application, **options: Any) -> None:
        self._application = application
        self._recorder = Recorder(**options)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serves one request."""
        if not self._recorder.wanted(environ.get("PATH_INFO", "")):
            return self._application(environ, start_response)
        return _Response(self._application, environ, start_response, self._recorder)


class _Response:
    """The response as the server iterates it; everything of the application runs in one copied context."""

    def __init__(
        self, application: Application, environ: Environ, start_response: StartResponse, recorder: Recorder
    ) -> None:
        self._environ = environ
        self._start_response = start_response
        self._recorder = recorder
        self._status = 0
        self._size = 0
        self._done = False
        self._error: BaseException | None = None
        self._context = copy_context()
        self._start = perf_counter()
        self._shared = self._context.run(start_request)
        try:
            self._body = self._context.run(application, environ, self._respond)
        except BaseException as error:
            self._finish(error)
            raise

    def _respond(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        self._status = int(status[:3]) if status[:3].isdigit() else 0
        write = self._start_response(status, headers, exc_info) if exc_info else self._start_response(status, headers)

        def counted(data: bytes) -> object:
            self._size += len(data)
            return write(data)

        return counted

    def __iter__(self) -> Iterator[bytes]:
        try:
            iterator = self._context.run(iter, self._body)
            while True:
                try:
                    chunk = self._context.run(next, iterator)
                except StopIteration:
                    break
                self._size += len(chunk)
                yield chunk
        except GeneratorExit:  # the client went away
            raise
        except BaseException as error:
            self._error = error
            raise

    def close(self) -> None:
        """Called by the server at the end, whatever happened."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                self._context.run(close)
        finally:
            self._finish(self._error)

    def _finish(self, error: BaseException | None) -> None:
        if self._done:
            return
        self._done = True
        environ, recorder = self._environ, self._recorder
        more: dict[str, Any] = {}
        for name in recorder.headers:
            value = environ.get("HTTP_" + name.upper().replace("-", "_"))
            if value is not None:
                more[f"header.{name}"] = value
        if recorder.query:
            values = parse_qs(environ.get("QUERY_STRING", ""))
            more.update({f"query.{name}": values[name][0] for name in recorder.query if name in values})
        recorder.record(
            method=environ.get("REQUEST_METHOD", ""),
            route=self._route(),
            status=500 if error is not None and not self._status else self._status or 499,
            ms=(perf_counter() - self._start) * 1000.0,
            size=self._size,
            shared=self._shared,
            known=recorder.known(environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_REQUEST_ID")),
            error=error,
            more=more,
        )

    def _route(self) -> str:
        environ, choose = self._environ, self._recorder.route
        try:
            found = choose(environ) if choose is not None else _framework_route(environ)
        except Exception:  # noqa: BLE001 - code of the application, or a framework's object of another shape
            found = None
        return found or safe_path(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def _framework_route(environ: Environ) -> str | None:
    flask = environ.get("werkzeug.request") or environ.get("flask.request")
    rule = getattr(flask, "url_rule", None)
    if rule is not None:
        return str(rule.rule)
    django = environ.get("metlog.django.resolver_match")
    return f"/{django.route}" if django is not None else None
