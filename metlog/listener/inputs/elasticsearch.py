"""Input `elasticsearch`: what shippers send to Elasticsearch's bulk interface."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from metlog.event import Event
from metlog.listener.inputs import Sink
from metlog.listener.inputs._http_push import Charge, PushApp, decode_json
from metlog.listener.inputs._http_server import Refusal, Request, Response
from metlog.listener.inputs._shipped import HOSTS, LEVELS, SERVICES, severity_of_level, take_first, time_of
from metlog.listener.inputs.http import HttpInput

__all__ = ["ElasticsearchInput"]

_BULK: Final = re.compile(r"(?:/([^/]{1,255}))?/_bulk")
_PRODUCT: Final = ("x-elastic-product", "Elasticsearch")
"""Elastic's clients talk to nothing that does not say so."""
_ABOUT: Final = {
    "name": "metlog", "cluster_name": "metlog", "cluster_uuid": "metlog", "tagline": "You Know, for Search",
    "version": {
        "number": "8.0.0", "build_flavor": "default", "minimum_wire_compatibility_version": "7.17.0",
        "minimum_index_compatibility_version": "7.0.0",
    },
}  # fmt: skip
_PAGES: Final[dict[str, Any]] = {
    "": _ABOUT,
    "/_cluster/health": {"cluster_name": "metlog", "status": "green", "timed_out": False},
    "/_license": {"license": {"status": "active", "type": "basic", "mode": "basic"}},
}


class ElasticsearchInput(HttpInput):
    """Listens for Elasticsearch's bulk interface, as Vector, Fluent Bit, Logstash and Beats speak it.

    It takes `POST /_bulk` and `/INDEX/_bulk` with the actions `index` and `create`, and the requests by which these clients look whether
    somebody is there. Nothing can be searched here.

    A document becomes an event of type `log`: `payload` its `message`, `timestamp` its `@timestamp`; `service.name`, `service` or `app`
    becomes `logger`, `host.name`, `hostname` or `host` `hostname`, `log.level` or `level` `severity`, `process.pid` `pid`; tokens are the
    type and the index, `fields` all the rest.

    host, port
        Loopback and Elasticsearch's own port by default; port 0 takes a free one.
    token, token_file
        As for the input `http`; also taken as the password of basic authentication, and as `ApiKey`.
    All other options
        As for the input `http`, but for namespaces and deletable, which say nothing here.
    """

    default_port = 9200
    url_prefix = "elasticsearch+"
    port_option = "port of the input elasticsearch"
    takes_signed = False

    def _make_app(self, sink: Sink) -> PushApp:
        return _BulkApp(self._rules, sink, self._watched, self._workers)


class _Item(msgspec.Struct):
    """One action of a bulk request, and what became of it."""

    action: str
    index: str
    ident: str
    status: int = 201
    error: str = ""


class _BulkApp(PushApp):
    async def answer(self, request: Request) -> Response:
        path = unquote(request.path).rstrip("/")
        if path in _PAGES and request.method in {"GET", "HEAD"}:
            self._demand_token(request)
            return _json(200, _PAGES[path])
        bulk = _BULK.fullmatch(path)
        if bulk is None:
            raise Refusal(404, "documents are taken, at /_bulk and /INDEX/_bulk", _PRODUCT)
        if request.method not in {"POST", "PUT"}:
            raise Refusal(405, "wants POST", ("allow", "POST, PUT"))
        items: list[_Item] = []

        def parse(body: bytes, charge: Charge) -> Sequence[Event]:
            found: list[Event] = []
            items.extend(_bulk(body, bulk[1] or "", found, charge, self._rules.max_events))
            return found

        rejected = await self.receive(request, parse)
        documents = [item for item in items if not item.error]
        for place, reason in rejected.items():
            documents[place].status, documents[place].error = 400, reason
        answers = [
            {
                item.action: {"_index": item.index, "_id": item.ident, "status": item.status}
                | (
                    {"error": {"type": "mapper_parsing_exception", "reason": item.error}}
                    if item.error
                    else {"result": "created"}
                )
            }
            for item in items
        ]
        return _json(200, {"took": 0, "errors": any(item.error for item in items), "items": answers})


def _json(status: int, content: object) -> Response:
    return Response(status, msgspec.json.encode(content), "application/json", (_PRODUCT,))


def _bulk(body: bytes, index: str, events: list[Event], charge: Charge, most: int) -> list[_Item]:
    """The actions of a bulk body; the events of those that are documents are added to `events`. Raises ValueError for a body whose lines
    cannot be told apart."""
    received = datetime.now(UTC)
    items: list[_Item] = []
    lines = iter(body.split(b"\n"))
    for line in lines:
        if not line.strip():
            continue
        if len(items) >= most:
            raise Refusal(413, f"the body has more than {most} actions")
        found = decode_json(line, charge)
        match list(found.items()) if isinstance(found, dict) else None:
            case [(("index" | "create" | "update" | "delete") as action, dict(meta))]:
                pass
            case _:
                raise ValueError('wants an action line, as {"create": {}}, before each document')
        item = _Item(action, str(meta.get("_index") or index or "metlog"), str(meta.get("_id") or uuid.uuid4().hex))
        items.append(item)
        if action == "delete":
            item.status, item.error = 400, "nothing is deleted here"
            continue
        document = next(lines, b"")
        if action == "update":
            item.status, item.error = 400, "nothing is updated here; use create or index"
            continue
        try:
            events.append(_event(decode_json(document, charge), item.index, received))
        except (ValueError, RecursionError) as error:
            item.status, item.error = 400, str(error) or "nested too deeply"
    return items


def _event(document: object, index: str, received: datetime) -> Event:
    if not isinstance(document, dict):
        raise ValueError("a document is an object")
    found: dict[str, Any] = document
    moment = time_of(found.get("@timestamp"))
    if moment is not None:
        del found["@timestamp"]
    logger, hostname, level, message = (
        take_first(found, names) for names in (SERVICES, HOSTS, LEVELS, ("message", "log"))
    )
    event = Event(
        timestamp=moment or received, type="log", tokens=("log", index), logger=logger, hostname=hostname,
        severity=severity_of_level(level), payload=message, fields=found,
    )  # fmt: skip
    pid = found.get("process", {}).get("pid") if isinstance(found.get("process"), dict) else None
    if isinstance(pid, int) and 0 <= pid < 2**63:
        event.pid = pid
    return event
