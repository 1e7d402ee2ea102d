"""What the inputs that speak another collector's HTTP interface share: a body is unpacked within limits and becomes events."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from metlog.event import Event
from metlog.listener.inputs import Full
from metlog.listener.inputs import _http_body as http_body
from metlog.listener.inputs._http_app import App
from metlog.listener.inputs._http_server import Refusal, Request, Response
from metlog.values import sanitize

__all__ = ["PushApp", "decode_json"]

log = logging.getLogger("metlog.listener")

MOST_PARTS: Final = 1_000_000
"""Objects, lists and members of a body."""
_PART: Final = 64
"""Bytes of memory that a part is charged with, against `max_pending`."""
_AGAIN: Final = "5"
_PLACE: Final = re.compile(r"event (\d+): (.*)", re.DOTALL)
_MOST_REJECTED: Final = 16
"""Events of a body that are rejected one by one; beyond, the body is refused."""

Charge = Callable[[int], None]
"""Takes some bytes of `max_pending` for the request; raises `Refusal` 429."""


class PushApp(App):
    """An interface of which `routes` answers the requests that are not `/healthz` and `/metrics`."""

    async def receive(self, request: Request, parse: Callable[[bytes, Charge], Sequence[Event]]) -> dict[int, str]:
        """Reads the body and journals the events that `parse` makes of it. Returns the reasons of those that no journal can hold, by
        their place; these are dead-lettered. Raises `Refusal`: 400 for a ValueError of `parse`, 413, 415, 429, 503."""
        held = 0

        def charge(size: int) -> None:
            nonlocal held
            self._budget.take(size)
            held += size

        def work(body: bytes) -> tuple[int, dict[int, str]]:
            plain = http_body.unpack(body, request.header("content-encoding"), self._rules.max_body, charge)
            try:
                events = parse(plain, charge)
            except (ValueError, RecursionError) as error:
                raise Refusal(400, str(error) or "nested too deeply") from None
            if len(events) > self._rules.max_events:
                raise Refusal(413, f"the body has {len(events)} events; {self._rules.max_events} are taken")
            rejected = self._store(events, request)
            return len(events) - len(rejected), rejected

        self._demand_token(request)
        if request.header("origin"):
            raise Refusal(403, "requests from web pages are not taken")
        try:
            body = await request.body(self._rules.max_body, charge)
            count, rejected = await asyncio.get_running_loop().run_in_executor(self._workers, work, body)
        finally:
            self._budget.give_back(held)
        with self._counting:
            self.frames += 1
            self.bytes += len(body)
            self.events += count
        return rejected

    def _store(self, events: Iterable[Event], request: Request) -> dict[int, str]:
        source = f"http://{request.peer}"
        left = {index: sanitize(event)[0] for index, event in enumerate(events)}
        rejected: dict[int, str] = {}
        while left:
            try:
                self._sink.submit(list(left.values()), source)
                break
            except Full as error:
                raise Refusal(503, f"no room now: {error}", ("retry-after", _AGAIN)) from None
            except ValueError as error:
                place = _PLACE.match(str(error))
                if place is None or len(rejected) >= _MOST_REJECTED:
                    raise Refusal(400, str(error)) from None
                index = list(left)[int(place[1])]
                rejected[index] = place[2]
                self._sink.reject(repr(left.pop(index)).encode()[:4096], source, f"not an event: {place[2]}")
        return rejected

    async def __call__(self, request: Request) -> Response:
        match request.path.rstrip("/").split("/"):
            case ["", "healthz"] if request.method in {"GET", "HEAD"}:
                return await self._page(self._health, self._authorized(request))
            case ["", "metrics"] if request.method in {"GET", "HEAD"}:
                self._demand_token(request)
                return await self._page(self._metrics)
        return await self.answer(request)

    async def answer(self, request: Request) -> Response:
        """Answers a request of the interface; raises `Refusal`."""
        raise Refusal(404, "no such page")

    def _authorized(self, request: Request) -> bool:
        """A token as `Authorization: Bearer TOKEN`, `ApiKey TOKEN`, or as the password of `Basic`, which is what shippers offer."""
        if super()._authorized(request):
            return True
        scheme, _, given = request.header("authorization").partition(" ")
        token = given.strip().encode()
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "apikey":
            return False
        return bool(sum([hmac.compare_digest(token, known) for known in self._tokens]))


def decode_json(body: bytes, charge: Charge) -> object:
    """Returns decoded JSON of a bounded number of parts; raises ValueError, `Refusal` 413."""
    parts = body.count(b",") + body.count(b"{") + body.count(b"[")
    if parts > MOST_PARTS:
        raise Refusal(413, f"the body has more than {MOST_PARTS} parts")
    charge(parts * _PART)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
