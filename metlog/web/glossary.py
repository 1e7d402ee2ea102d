"""The words of reports and pages, each with what it means and what it is called on the wire and in SQL: `/words`, and docs/glossary.md."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from metlog.web.state import page_of

__all__ = ["GLOSSARY", "show"]

GLOSSARY: Final = (
    ("event", "", "one thing that happened, as a service logged it; a counter, a timer and a log line are events, too"),
    ("service", "logger", "who logged it: the name that the application is configured with; “(no name)” where it has none"),
    ("type", "type", "what kind of event it is: `request`, `login`, `counter`, or any word of the application's"),
    ("log line", "oldstyle", "the type of what `metlog.info` to `metlog.critical` and the standard library's loggers send"),
    ("token", "tokens", "one of the words that an event is filed under; the first one is its type"),
    ("message", "payload", "the text of an event"),
    ("field", "fields", "a named value of an event: `user`, `route`, `status`, `ms`"),
    ("severity", "severity", "how bad it is, from emergency (0) to debug (7); “error or worse” is 0 to 3"),
    ("weight", "weight", "how many events one stands for: 10 where one in ten was kept. Reports sum it and do not count rows"),
    ("received", "", "events that arrived, each counted once, whatever its weight"),
    ("stream", "stream, seq", "what one process of a service sends, numbered from 1, so that a gap is a loss"),
    ("lost", "lost", "numbers that are missing between the first and the last that are known of a stream"),
    ("unconfirmed tail", "ended", "a stream without its last event: what it sent after the last one that came is not known"),
    ("before first", "before_first", "numbers below the first that came in this time: of an earlier time, or gone with old files"),
    ("duplicates", "duplicates", "numbers that came again; a query sees such an event twice"),
    ("sender, encoder, filter", "", "the parts of an application's side: the way out, how an event is written, what is kept or hidden"),
    ("listener, input, output", "", "the process that takes events, the ways into it, and where it hands them on"),
    ("journal", "", "what the listener has accepted and not yet handed on everywhere; nothing in it is lost when it is killed"),
    ("lake, data set", "events", "the Parquet files, a folder a day, that queries read"),
    ("dead letter", "", "what the listener could not take, kept with the reason"),
    ("report", "", "a question with its chart: built in, or a saved query"),
    ("so far", "", "of a day, a week, an hour that is not over"),
)  # fmt: skip
"""A word, its name in SQL or on the wire where that differs or helps, and its meaning; code between backticks."""


async def show(request: Request) -> Response:
    """`/words`."""
    return page_of(request).views.render(request, "words.html", {"here": "", "clock": "", "words": GLOSSARY})
