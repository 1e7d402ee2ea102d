"""Refusals, and how they are told: as JSON to a program, as a page to a reader."""

from __future__ import annotations

from collections.abc import Mapping

from metlog.lake.query import QueryError

__all__ = ["Refused", "from_query"]

_STATUS = {"timeout": 408, "memory": 413}


class Refused(Exception):
    """Answers a request with a status and one sentence. `place` is the position in the SQL, where there is one."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        place: tuple[int, int] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})
        self.place = place
        self.kind = kind

    def body(self) -> dict[str, object]:
        """`{"error": …}`, with `line` and `column` (both from 1) where known."""
        found: dict[str, object] = {"error": self.message}
        if self.kind is not None:
            found["kind"] = self.kind
        if self.place is not None:
            found["line"], found["column"] = self.place
        return found


def from_query(error: QueryError) -> Refused:
    """408 over the time limit, 413 too large, else 400."""
    place = (error.line, error.column) if error.line is not None and error.column is not None else None
    return Refused(_STATUS.get(error.kind, 400), error.message, place=place, kind=error.kind)
