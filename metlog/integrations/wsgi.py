"""Middleware for WSGI (PEP 3333): Flask, Django, or a bare application, with one line.

application = MetlogMiddleware(application)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, Final, Unpack

from metlog.integrations._faults import Input, is_disconnect, stems_from
from metlog.integrations._flask import listen
from metlog.integrations._request import CLOSED_BY_CLIENT, Options, Recorder, Rejoined, Scope, safe_path
from metlog.integrations.django import FAULT, is_handler, route_of, watch
from metlog.values import whole_number

__all__ = ["MetlogMiddleware"]

_FLASK: Final = "werkzeug.request"
"""Where Flask leaves its request in the environ."""

Environ = dict[str, Any]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]
Application = Callable[[Any, Any], Iterable[bytes]]


class MetlogMiddleware:
    """Logs each request of a WSGI application when its response has ended; options are those of `Recorder`.

    The time is that from the call to the last chunk of the body, or to where it broke off. The route is the template of the
    framework (Flask's `url_rule`, Django's `resolver_match`; what `route(environ)` gives, where set), else a safe path.
    What `metlog.context(…)` adds below is on the request's own event.

    >>> import metlog
    >>> client = metlog.MetlogClient.from_config("memory:")
    >>> def app(environ, start_response):
    ...     start_response("200 OK", [])
    ...     return [b"hello"]
    >>> MetlogMiddleware(app, client=client)({"REQUEST_METHOD": "GET", "PATH_INFO": "/a/7"}, lambda status, headers: None)
    [b'hello']
    >>> client.flush()
    True
    >>> client.sender.events[0].payload
    'GET /a/{id} 200'
    """

    def __init__(self, application: Application, **options: Unpack[Options]) -> None:
        self._application = application
        self._recorder = Recorder(**options)
        self._headers = [(name, "HTTP_" + name.upper().replace("-", "_")) for name in self._recorder.headers]
        if is_handler(application):
            watch(application)
        listen()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serves one request."""
        if not self._recorder.wanted(environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")):
            return self._application(environ, start_response)
        exchange = _Exchange(self._recorder, self._headers, environ, start_response)
        try:
            body = self._application(environ, exchange.respond)
        except BaseException as error:
            exchange.finish(error)
            raise
        return exchange.hand_on(body)


class _Exchange:
    """One request and its response, up to `finish`."""

    __slots__ = (
        "_done", "_environ", "_headers", "_input", "_path", "_recorder", "_scope", "_size", "_start_response",
        "_started", "_status", "_template", "_wanted", "_write", "ended", "error",
    )  # fmt: skip

    def __init__(
        self, recorder: Recorder, wanted: list[tuple[str, str]], environ: Environ, start_response: StartResponse
    ) -> None:
        self._recorder = recorder
        self._wanted = wanted
        self._environ = environ
        self._start_response = start_response
        self._path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")  # applications change them
        self._template: str | None = None
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._size = 0
        self._write: Write | None = None
        self.error: BaseException | None = None
        self.ended: float | None = None
        self._done = False
        self._input: Input | None = None
        length = environ.get("CONTENT_LENGTH") or "0"
        if (length != "0" or environ.get("HTTP_TRANSFER_ENCODING")) and "wsgi.input" in environ:
            self._input = environ["wsgi.input"] = Input(environ["wsgi.input"], whole_number(length) or 0)
        self._scope = Scope()
        self._started = perf_counter()

    # ---- what the application calls ----------------------------------------------------------------------------------

    def respond(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Write:
        """`start_response`; called again with `exc_info` it replaces a response of which nothing has been sent."""
        # the server raises when it is too late for another status: then the first one stands
        write = self._start_response(status, headers, exc_info) if exc_info else self._start_response(status, headers)
        self._status = whole_number(status[:3]) or 0
        self._headers = headers
        self._write = write
        if _FLASK in self._environ and self._template is None and self._recorder.route is None:
            self._template = self._asked(_framework_route)  # Flask takes its own away before the call is over
        if exc_info:
            self.error = exc_info[1]
        return self._counted

    def _counted(self, data: bytes) -> object:
        assert self._write is not None  # `respond` gave this function away after it
        self._size += len(data)
        return self._write(data)

    # ---- what the server gets ----------------------------------------------------------------------------------------

    def hand_on(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body as the server may have it: a list and a file stay what they are, for what the server can do with them."""
        if body.__class__ is list or body.__class__ is tuple:
            self._size += sum(map(len, body))
            self.finish(None)
            return body
        wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper) and self._end_with(body):
            return body
        return _Body(self, body)

    def _end_with(self, file: Any) -> bool:
        """Takes part in the `close` of a file that the server sends by itself (sendfile): nobody iterates it."""
        close = getattr(file, "close", None)

        def closing() -> None:
            self._size += self._content_length()
            self.end()
            try:
                if close is not None:
                    close()
            finally:
                self.finish(None)

        try:
            file.close = closing
        except AttributeError:  # an object of C, without room for attributes: iterated like any other
            return False
        return True

    def _content_length(self) -> int:
        for name, value in self._headers:
            if name.lower() == "content-length":
                return whole_number(value) or 0
        return 0

    # ---- the end -----------------------------------------------------------------------------------------------------

    def count(self, chunk: bytes) -> None:
        """A chunk of the body goes to the server."""
        self._size += len(chunk)

    def end(self) -> None:
        """The body is complete; what `close` does is no longer the client's time."""
        self.ended = perf_counter()

    def rejoin(self) -> Rejoined | None:
        """See `Scope`."""
        return self._scope.rejoin()

    def finish(self, error: BaseException | None, *, cut_short: bool = False) -> None:
        """Logs the request, once."""
        if self._done:
            return
        self._done = True
        ms = ((self.ended or perf_counter()) - self._started) * 1000.0
        self._scope.leave()
        try:
            self._record(error or self.error, ms, cut_short)
        except Exception as failure:  # noqa: BLE001 - ours to count, not the application's
            self._recorder.failed(failure)

    def _record(self, error: BaseException | None, ms: float, cut_short: bool) -> None:
        environ, recorder = self._environ, self._recorder
        method = environ.get("REQUEST_METHOD", "")
        status, size = self._status, self._size
        given = self._input
        broke_off = given is not None and given.gone
        lost = given.lost if given is not None else None
        if broke_off and error is not None and ((lost is not None and stems_from(error, lost)) or is_disconnect(error)):
            error = None  # the server's word for it, or what a framework makes of that: nothing failed here
            status = status or CLOSED_BY_CLIENT
        if error is not None and not size:
            status = max(status, 500)  # nothing was sent: the server, or `exc_info`, makes it an error
        if method == "HEAD":
            size, cut_short = 0, False
        elif cut_short and (status in {204, 304} or (size and size == self._content_length())):
            cut_short = False  # the server knew that nothing would follow
        cut_short = cut_short or broke_off  # also where an answer was written: nobody has it
        if not status:
            status = CLOSED_BY_CLIENT if cut_short else 500
        fields: dict[str, Any] = {}
        for name, key in self._wanted:
            if key in environ:
                recorder.header(fields, name, environ[key])
        if recorder.query:
            fields.update(recorder.parameters(environ.get("QUERY_STRING", "")))
        recorder.record(
            method=method, route=self._route(), status=status, ms=ms, size=size, fields=fields, shared=self._scope.shared,
            error=error or environ.pop(FAULT, None), disconnected=cut_short,
        )  # fmt: skip

    def _route(self) -> str:
        found = self._template or self._asked(self._recorder.route or _framework_route)
        if found:
            return found
        path = self._path
        return safe_path(path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace"))

    def _asked(self, choose: Callable[[Environ], str | None]) -> str | None:
        try:
            return choose(self._environ)
        except Exception as error:  # noqa: BLE001 - code of the application, or a framework's object of another shape
            self._recorder.failed(error)
            return None


class _Body(Iterator[bytes]):
    """A body that the server iterates, and always closes."""

    __slots__ = ("_body", "_exchange", "_iterator")

    def __init__(self, exchange: _Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        elsewhere = exchange.rejoin()
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            chunk = next(self._iterator)
        except StopIteration:
            exchange.end()
            raise
        except BaseException as error:
            exchange.error = error
            exchange.end()
            raise
        finally:
            if elsewhere is not None:
                elsewhere.part()
        exchange.count(chunk)
        return chunk

    def close(self) -> None:
        """Called by the server at the end, whatever happened."""
        exchange = self._exchange
        cut_short = exchange.ended is None
        if cut_short:
            exchange.end()
        error = None
        elsewhere = exchange.rejoin()
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except BaseException as raised:
            error = raised
            raise
        finally:
            exchange.finish(error, cut_short=cut_short)
            if elsewhere is not None:
                elsewhere.part()


def _framework_route(environ: Environ) -> str | None:
    if _FLASK in environ:
        rule = getattr(environ[_FLASK], "url_rule", None)
        if rule is not None:
            return f"{environ.get('SCRIPT_NAME', '')}{rule.rule}"
    route = route_of(environ)
    return None if route is None else f"{environ.get('SCRIPT_NAME', '')}{route}"
