"""A sink in front of a sink, for inputs whose frames are another program's messages: it parses them into events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from metlog.event import Event
from metlog.listener.inputs import Sink
from metlog.listener.validate import Validated, validate_parsed

__all__ = ["EventSink"]


class EventSink:
    """Hands the events of each frame on to another sink; a frame that `parse` refuses with ValueError is dead-lettered by its reason."""

    def __init__(self, sink: Sink, parse: Callable[[bytes], Sequence[Event]], scheme: str = "") -> None:
        """`scheme` is put before a source's URL."""
        self._sink = sink
        self._parse = parse
        self._scheme = scheme
        self.events = 0
        self.invalid = 0

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        self.frames([(data, source)], received_at)

    def frames(self, batch: Sequence[tuple[bytes | Validated, str]], received_at: int | None = None) -> None:
        found: dict[str, list[Event]] = {}
        for data, source in batch:
            name = self._scheme + source
            assert isinstance(data, bytes)  # from an input that receives frames
            try:
                events = self._parse(data)
            except ValueError as error:
                self.invalid += 1
                self._sink.reject(data, name, str(error))
            else:
                found.setdefault(name, []).extend(events)
        frames = [(validate_parsed(events), name) for name, events in found.items() if events]
        self.events += sum(len(events) for events in found.values())
        if frames:
            self._sink.frames(frames, received_at)

    def opened(self, body: bytes, source: str, key: str = "") -> bytes | None:
        return self._sink.opened(body, self._scheme + source, key)

    def submit(self, events: Sequence[Event] | Validated, source: str, **options: Any) -> bool:
        return self._sink.submit(events, self._scheme + source, **options)

    def reject(self, data: bytes, source: str, reason: str) -> None:
        self._sink.reject(data, self._scheme + source, reason)
