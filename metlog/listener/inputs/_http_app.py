"""What the input `http` answers: Bagheera's contract, and the pages that watch a listener."""

from __future__ import annotations

import asyncio
import fnmatch
import hmac
import logging
import re
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from metlog.event import Event
from metlog.journal.rows import Row
from metlog.listener import metrics
from metlog.listener.inputs import Full, Sink, Watched
from metlog.listener.inputs import _http_body as http_body
from metlog.listener.inputs._http_server import Refusal, Request, Response
from metlog.listener.validate import Validated

__all__ = ["DELETE_TYPE", "App", "Rules", "Watched"]

log = logging.getLogger("metlog.listener")

DELETE_TYPE: Final = "metlog.delete"
"""Type of the event that a DELETE leaves: `fields` has the `submission` that its sender takes back."""

_encode: Final = msgspec.json.Encoder().encode

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ID: Final = re.compile(r"[A-Za-z0-9_.~:@+-]{1,200}")
_BUSY_AGAIN: Final = "1"
_FULL_AGAIN: Final = "5"
"""Seconds of Retry-After."""


class Rules(Struct, frozen=True, kw_only=True):
    """Who may send what; sizes in bytes."""

    namespaces: Sequence[str] = ("*",)
    deletable: Sequence[str] = ()
    tokens: Sequence[str] = ()
    max_body: int = 8 << 20
    max_events: int = 50_000
    max_pending: int = 64 << 20


class _Budget:
    """Bytes of bodies that are held at one time, packed and unpacked, by all connections together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.held = 0

    def take(self, size: int) -> None:
        with self._lock:
            if self.held + size > self._most:
                raise Refusal(429, "too much is being sent at once; try again", ("retry-after", _BUSY_AGAIN))
            self.held += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self.held -= size


class App:
    """Answers requests; `workers` threads unpack, check and journal."""

    def __init__(self, rules: Rules, sink: Sink, watched: Watched | None, workers: int) -> None:
        self._rules = rules
        self._sink = sink
        self._watched = watched
        self._allowed = _any_of(rules.namespaces)
        self._deletable = _any_of(rules.deletable)
        self._tokens = [token.encode() for token in rules.tokens]
        self._budget = _Budget(rules.max_pending)
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="metlog-http-work")
        self._pages = ThreadPoolExecutor(1, thread_name_prefix="metlog-http-page")  # answers while the journal hangs
        self.namespaces = metrics.Bounded()
        self._counting = threading.Lock()
        self.frames = 0
        self.bytes = 0
        self.events = 0
        self.repeated = 0

    @property
    def pending_bytes(self) -> int:
        return self._budget.held

    def close(self) -> None:
        self._workers.shutdown()
        self._pages.shutdown(wait=False)

    async def __call__(self, request: Request) -> Response:
        match request.path.removeprefix("/1.0").split("/"):
            case ["", ""] if request.method == "GET":
                return Response(200, b"metlog listener\n")
            case ["", "healthz"] if request.method == "GET":
                return await self._page(self._health, self._authorized(request))
            case ["", "metrics"] if request.method == "GET":
                self._demand_token(request)
                return await self._page(self._metrics)
            case ["", "submit", namespace]:
                return await self._submission(request, namespace, "")
            case ["", "submit", namespace, ident]:
                return await self._submission(request, namespace, ident)
        raise Refusal(404, "no such page; events go to /submit/NAMESPACE or /submit/NAMESPACE/ID")

    async def _page(self, make: Callable[..., Response], *arguments: object) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._pages, make, *arguments)

    # Submissions.

    async def _submission(self, request: Request, namespace: str, ident: str) -> Response:
        namespace, ident = unquote(namespace), unquote(ident)
        if not _NAMESPACE.fullmatch(namespace) or not self._allowed(namespace):
            raise Refusal(404, "this namespace is not taken; see `namespaces` of the input http")
        if ident and not _ID.fullmatch(ident):
            raise Refusal(404, "an id has 1 to 200 letters, digits and _ . ~ : @ + -")
        if request.header("origin"):
            raise Refusal(403, "requests from web pages are not taken")  # a page could post to a loopback address
        self._demand_token(request)
        match request.method:
            case "POST" | "PUT":
                return await self._take(request, namespace, ident)
            case "DELETE" if ident and self._deletable(namespace):
                return await self._take_back(request, namespace, ident)
            case "DELETE":
                raise Refusal(403, "DELETE is not allowed here; see `deletable` of the input http")
        raise Refusal(403, f"{request.method} is not allowed here; POST and PUT are")

    async def _take(self, request: Request, namespace: str, ident: str) -> Response:
        held = 0

        def take(size: int) -> None:
            nonlocal held
            self._budget.take(size)
            held += size

        def work(body: bytes) -> tuple[bool, int]:
            plain = http_body.unpack(body, request.header("content-encoding"), self._rules.max_body, take)
            plain = self._opened(plain, request, f"{namespace}/{ident}" if ident else "")
            amend = partial(self._amend, namespace, ident if self._deletable(namespace) else "")
            found = http_body.validated(plain, request.header("content-type"), self._rules.max_events, amend)
            return self._journal(found, request, namespace, ident), found.count

        try:
            body = await request.body(self._rules.max_body, take)
            new, count = await asyncio.get_running_loop().run_in_executor(self._workers, work, body)
        finally:
            self._budget.give_back(held)
        with self._counting:
            self.frames += 1
            self.bytes += len(body)
            if new:
                self.events += count
                self.namespaces.add(namespace, count)
            else:
                self.repeated += count
        headers = () if new else (("idempotent-replayed", "true"),)
        return Response(201, (ident or str(uuid.uuid4())).encode(), headers=headers)

    def _opened(self, body: bytes, request: Request, key: str) -> bytes:
        """The content of a signed body; any other body as it is."""
        found = self._sink.opened(body, f"http://{request.peer}", key)
        if found is None:
            raise Refusal(403, "the body is not signed as this input demands; it is a dead letter")
        return found

    @staticmethod
    def _amend(namespace: str, submission: str, lines: bytes, rows: Sequence[Row]) -> bytes:
        """Gives events without a logger the namespace's; and, with `submission`, every event its id, so that a later tombstone can
        be matched. All others stay as received."""
        if not submission and all([row.logger for row in rows]):
            return lines
        found = lines.split(b"\n")
        for index, row in enumerate(rows):
            if not row.logger or submission:
                row.logger = row.logger or namespace
                if submission:
                    row.fields["submission"] = submission
                    found[index] = _encode(row)
                elif b'"logger"' in found[index]:  # an empty one
                    found[index] = _encode(row)
                else:
                    found[index] = found[index].rstrip()[:-1] + b',"logger":"%s"}' % namespace.encode()
        return b"\n".join(found)

    def _journal(self, events: Sequence[Event] | Validated, request: Request, namespace: str, ident: str) -> bool:
        """Runs in a worker; returns when the events are on disk. False for a repeat."""
        try:
            return self._sink.submit(events, f"http://{request.peer}", key=f"{namespace}/{ident}" if ident else "")
        except Full as error:
            raise Refusal(503, f"no room now: {error}", ("retry-after", _FULL_AGAIN)) from None
        except ValueError as error:
            place = re.match(r"event (\d+)", str(error))
            more = {"index": int(place[1])} if place else {}
            raise Refusal(400, str(error), **more) from None

    async def _take_back(self, request: Request, namespace: str, ident: str) -> Response:
        tombstone = Event(type=DELETE_TYPE, tokens=(DELETE_TYPE,), logger=namespace, fields={"submission": ident})

        def work() -> None:
            self._opened(f"DELETE {namespace}/{ident}".encode(), request, "")  # refused where signatures are required
            self._journal([tombstone], request, namespace, "")

        await asyncio.get_running_loop().run_in_executor(self._workers, work)
        return Response(200)

    # Who asks.

    def _authorized(self, request: Request) -> bool:
        if not self._tokens:
            return True
        scheme, _, token = request.header("authorization").partition(" ")
        given = token.strip().encode()
        # Every token is compared, each in constant time: neither which one nor how much of it matched can be measured.
        return bool(sum([hmac.compare_digest(given, known) for known in self._tokens])) and scheme.lower() == "bearer"

    def _demand_token(self, request: Request) -> None:
        if not self._authorized(request):
            raise Refusal(401, "wants Authorization: Bearer TOKEN", ("www-authenticate", 'Bearer realm="metlog"'))

    # Pages.

    def _health(self, details: bool) -> Response:
        wrong = self._watched.health() if self._watched is not None else []
        body: dict[str, Any] = {"status": "failing" if wrong else "ok"}
        if details and wrong:
            body["problems"] = wrong
        return Response(503 if wrong else 200, msgspec.json.encode(body), "application/json")

    def _metrics(self) -> Response:
        found = metrics.of_listener(self._watched.status()) if self._watched is not None else []
        samples: list[tuple[metrics.Labels, float]] = [
            ((("namespace", name),), float(count)) for name, count in self.namespaces.items()
        ]
        text = "Events taken by the input http, by namespace."
        found.append(metrics.Metric("metlog_http_events_total", "counter", text, samples))
        return Response(200, metrics.render(found), metrics.CONTENT_TYPE)


def _any_of(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Whether a name matches one of some patterns with * and ?."""
    whole = re.compile("|".join(f"(?:{fnmatch.translate(pattern)})" for pattern in patterns) or r"(?!)")
    return lambda name: whole.match(name) is not None
