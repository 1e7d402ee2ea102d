"""Names of topics and keys from templates: `events-{logger}`, `{stream}`."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from metlog.encoders.wire import encoded_events, is_msgpack, unsigned

__all__ = ["PLACES", "Named", "Template", "grouped"]

PLACES: Final = ("logger", "type", "hostname", "stream")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_NO_TOPIC: Final = re.compile(r"[^A-Za-z0-9._-]")
_BY_CLIENT: Final = frozenset({"hostname", "stream"})
"""The same for all events of a frame, which one client made."""


class Named(Struct):
    """Of an event: what a template may ask for."""

    logger: str = ""
    type: str = ""
    hostname: str = ""
    stream: str = ""


class Template:
    """A text with places. Raises ValueError for one that no event has."""

    def __init__(self, option: str, text: str) -> None:
        self.text = text
        self.places = frozenset(_PLACE.findall(text))
        for place in sorted(self.places):
            if place not in PLACES:
                known = ", ".join(f"{{{name}}}" for name in PLACES)
                raise ValueError(f"{option} = {text!r}: there is no {{{place}}}; there is {known}")
        if "{" in (rest := _PLACE.sub("", text)) or "}" in rest:
            raise ValueError(f"{option} = {text!r}: a brace without its partner")

    @property
    def by_event(self) -> bool:
        """Whether two events of a frame may differ in it."""
        return not self.places <= _BY_CLIENT

    def fill(self, event: Any) -> str:
        """The text for an event (anything with the attributes of `Named`)."""
        if not self.places:
            return self.text
        return _PLACE.sub(lambda found: str(getattr(event, found[1])), self.text)

    def topic(self, event: Any) -> str:
        """The text as the name of a topic: what Kafka does not take in one becomes `_`."""
        name = _NO_TOPIC.sub("_", self.fill(event))[:249]
        return name if name.strip(".") else "_"


class Part(NamedTuple):
    """A frame, or a part of one, that goes to one topic under one key."""

    topic: str
    key: str
    frame: bytes


_json: Final = msgspec.json.Decoder(Named).decode
_pack: Final = msgspec.msgpack.Decoder(Named).decode
_packed: Final = msgspec.msgpack.Encoder().encode


def grouped(frame: bytes, topic: Template, key: Template) -> list[Part]:
    """The frame in parts by topic and key. One whose events cannot be told apart (it is signed, or in a format of another encoder's)
    stays whole, and is named by its first event, as far as that can be read."""
    if not topic.places and not key.places:
        return [Part(topic.text, key.text, frame)]
    try:
        events = encoded_events(frame)
        named = [(_name(event), event) for event in (events if topic.by_event or key.by_event else events[:1])]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        named = []
    if not named:
        return [Part(topic.topic(Named()), key.fill(Named()), frame)]
    groups: dict[tuple[str, str], list[bytes]] = {}
    for name, event in named:
        groups.setdefault((topic.topic(name), key.fill(name)), []).append(event)
    if len(groups) == 1 or unsigned(frame) is not frame:
        (to, by), _ = next(iter(groups.items()))
        return [Part(to, by, frame)]
    return [Part(to, by, _joined(frame, found)) for (to, by), found in groups.items()]


def _name(event: bytes) -> Named:
    return _pack(event) if is_msgpack(event) else _json(event)


def _joined(frame: bytes, events: list[bytes]) -> bytes:
    if is_msgpack(frame):
        return events[0] if len(events) == 1 else _packed([msgspec.Raw(event) for event in events])
    return b"\n".join([*events, b""])
