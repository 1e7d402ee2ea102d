"""Privacy: drops, keeps, pseudonymises, shortens and masks before anything is encoded."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from metlog.errors import ConfigError
from metlog.event import Event
from metlog.filters._masks import MASKS, Mask, of_pattern
from metlog.filters._paths import Paths
from metlog.tracebacks import render
from metlog.values import MARK, MAX_DEPTH, MAX_ITEMS, sayable

__all__ = ["MASKS", "Redact", "cut_ip"]

MIN_KEY: Final = 16
"""Characters that the key of pseudonyms has at least."""


class Redact:
    """Removes what must not leave the process, from fields and payload, nested values and names included.

    drop
        Paths of fields to remove: names joined by dots, `*` for any one name or list index (or a part of it), `**` for any
        depth: `password`, `*.token`, `**.secret`, `**.card_*`. Names are matched as they are written.
    keep
        When given, only these paths, and what lies below them, are kept; everything else is removed. The payload stays.
    pseudonymize
        Paths whose value becomes its HMAC-SHA256 under `key` (64 hexadecimal characters): unique counts still work. Of a
        list, each item.
    key
        The secret for that, 16 characters or more: `"${METLOG_PSEUDONYM_KEY}"`.
    cut_ip
        Paths whose IP addresses are cut to /24 (IPv4) or /48 (IPv6); ports go. What is no address becomes null.
    mask
        Regular expressions, or the names `email`, `ipv4`, `ipv6`, `credit_card`. What they find becomes `mask_with`: in the
        payload, type, tokens and logger, in values, in names, in exceptions and their tracebacks.
    mask_with
        What is put in place.

    A field named with dots (`user.email`) is found by the same path as a nested one. Objects are looked at as the
    encoders would write them. The caller's own objects are never changed.
    """

    def __init__(
        self,
        *,
        drop: list[str] | None = None,
        keep: list[str] | None = None,
        pseudonymize: list[str] | None = None,
        key: str | None = None,
        cut_ip: list[str] | None = None,
        mask: list[str] | None = None,
        mask_with: str = "***",
    ) -> None:
        wrong: list[str] = []
        self._drop = Paths("drop", drop, wrong)
        self._keep = None if keep is None else Paths("keep", keep, wrong)
        self._pseudonymize = Paths("pseudonymize", pseudonymize, wrong)
        self._cut = Paths("cut_ip", cut_ip, wrong)
        self._masks = [found for pattern in mask or () if (found := _mask(pattern, wrong)) is not None]
        self._mask_with = mask_with
        if pseudonymize and (key is None or len(key) < MIN_KEY):
            wrong.append(
                f"key: pseudonymize needs a secret of at least {MIN_KEY} characters; take it from the environment: "
                "key = '${METLOG_PSEUDONYM_KEY}'"
            )
        if key is not None and not pseudonymize:
            wrong.append("key: means nothing without pseudonymize; name the paths there, or leave it out")
        self._signing = hmac.new((key or "").encode(), digestmod=hashlib.sha256)
        if not (drop or keep is not None or pseudonymize or cut_ip or mask):
            wrong.append("redact does nothing; give drop, keep, pseudonymize, cut_ip or mask")
        if wrong:
            raise ConfigError(wrong)

    def __call__(self, event: Event, /) -> Event | None:
        """A copy without what must not leave."""
        fields = event.fields if isinstance(event.fields, Mapping) else {"fields": event.fields}
        walk = _Pass(self)
        made = walk.mapping(fields, "", kept=self._keep is None)
        if walk.notes:
            before = made.get(MARK)
            notes = [self.text(note) for note in walk.notes]
            made[MARK] = [*before, *notes] if isinstance(before, list) else notes
        return replace(
            event,
            payload=self.text(str(event.payload)),
            fields=made,
            type=self.text(str(event.type)),
            tokens=tuple(self.text(str(token)) for token in event.tokens),
            logger=self.text(str(event.logger)),
        )

    def text(self, text: str) -> str:
        """The text with what the masks find hidden."""
        for mask in self._masks:
            text = mask(text, self._mask_with)
        return text

    def pseudonym(self, text: str) -> str:
        """HMAC-SHA256 (RFC 2104) under the key, in hexadecimal."""
        signing = self._signing.copy()  # the key's part is hashed once, not once a value
        signing.update(text.encode("utf-8", "surrogatepass"))
        return signing.hexdigest()


class _Pass:
    """One pass over the fields of an event, bounded in depth and number of values, whatever refers to what."""

    def __init__(self, redact: Redact) -> None:
        self.notes: list[str] = []
        self._redact = redact
        self._text = redact.text
        self._left = MAX_ITEMS
        self._above: set[int] = set()  # ids of the containers around the value at hand

    def mapping(self, value: Mapping[Any, Any], path: str, *, kept: bool) -> dict[str, Any]:
        redact = self._redact
        made: dict[str, Any] = {}
        again: dict[str, int] = {}
        for name, item in list(value.items()):
            key = name if type(name) is str else _name(name)
            here = f"{path}.{key}" if path else key
            if redact._drop.match(here):
                continue
            keep = kept or (redact._keep is not None and redact._keep.match(here) is not None)
            if not keep and type(item) in _LEAVES:
                continue
            if not self._room(here):
                break
            said = self.value(item, here, kept=keep)
            if keep or (isinstance(said, dict | list) and said):
                shown = self._text(key)
                made[shown if shown not in made else _beside(shown, made, again)] = said
        return made

    def items(self, value: Iterable[Any], path: str, *, kept: bool) -> list[Any]:
        redact = self._redact
        made: list[Any] = []
        for index, item in enumerate(list(value)):
            here = f"{path}.{index}"
            if redact._drop.match(here):
                continue
            keep = kept or (redact._keep is not None and redact._keep.match(here) is not None)
            if not self._room(here):
                break
            said = self.value(item, here, kept=keep)
            if keep or (isinstance(said, dict | list) and said):
                made.append(said)
        return made

    def value(self, value: Any, path: str, *, kept: bool) -> Any:
        redact, kind = self._redact, type(value)
        if redact._pseudonymize.match(path):
            return self._pseudonym(value, path)
        if redact._cut.match(path):
            return self._cut(value, path)
        if kind is str:
            return self._text(value)
        if value is None or kind is bool:
            return value
        if kind is int or kind is float:
            text = str(value)  # a card number may well be a number
            hidden = self._text(text)
            return value if hidden == text else hidden
        if isinstance(value, Mapping) or kind in {list, tuple, set, frozenset}:
            return self._inside(value, path, kept=kept)
        if isinstance(value, bytes | bytearray | memoryview):  # base64 would hide a secret from the masks
            text = bytes(value).decode("utf-8", "replace")
            hidden = self._text(text)
            return value if hidden == text else hidden
        if isinstance(value, BaseException):
            return self._text(render(value))
        said, notes = sayable(value, path)
        self.notes += notes
        return self.value(said, path, kept=kept)

    def _inside(self, value: Any, path: str, *, kept: bool) -> Any:
        if id(value) in self._above:
            self.notes.append(f"{path[:200]}: refers to what it is part of")
            return "<circular>"
        if len(self._above) >= MAX_DEPTH:
            self.notes.append(f"{path[:200]}: nested deeper than {MAX_DEPTH} levels")
            return "<too deep>"
        self._above.add(id(value))
        try:
            walk = self.mapping if isinstance(value, Mapping) else self.items
            return walk(value, path, kept=kept)
        finally:
            self._above.discard(id(value))

    def _room(self, path: str) -> bool:
        if self._left <= 0:
            if self._left == 0:
                self.notes.append(f"{path[:200]}: cut: more than {MAX_ITEMS} values in the event")
            self._left = -1
            return False
        self._left -= 1
        return True

    def _pseudonym(self, value: Any, path: str) -> Any:
        if value is None:
            return None
        if isinstance(value, list | tuple | set | frozenset):
            return [self._redact.pseudonym(_said(item, path)) for item in list(value)[: max(0, self._left)]]
        return self._redact.pseudonym(_said(value, path))

    def _cut(self, value: Any, path: str) -> Any:
        if isinstance(value, list | tuple | set | frozenset):
            return [cut_ip(_said(item, path)) for item in list(value)[: max(0, self._left)]]
        return cut_ip(_said(value, path))


_LEAVES: Final = frozenset({str, int, float, bool, type(None), bytes})


def _beside(name: str, taken: Mapping[str, Any], again: dict[str, int]) -> str:
    """Another name beside one that is taken: two names may become one when they are masked."""
    while True:
        again[name] = again.get(name, 1) + 1
        free = f"{name} ({again[name]})"
        if free not in taken:
            return free


def _name(key: Any) -> str:
    said, _ = sayable({key: None}, "")
    return next(iter(said), "") if isinstance(said, dict) else str(said)


def _said(value: Any, path: str) -> str:
    """A value as text: the same for the same value, and for a number and its digits."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    said, _ = sayable(value, path)
    return said if isinstance(said, str) else msgspec.json.encode(said, order="deterministic").decode()


def _mask(pattern: str, wrong: list[str]) -> Mask | None:
    if pattern in MASKS:
        return MASKS[pattern]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        wrong.append(f"mask = {pattern!r}: neither {', '.join(MASKS)} nor a regular expression: {error}")
        return None
    if compiled.fullmatch(""):
        wrong.append(
            f"mask = {pattern!r}: matches the empty text, and so everything; make it match what is to be hidden"
        )
        return None
    return of_pattern(compiled)


# ---- IP addresses ----------------------------------------------------------------------------------------------------


def cut_ip(text: str) -> str | None:
    """The networks of one address or of several with commas (`X-Forwarded-For`); None for what is no address."""
    networks = [_network(part.strip()) for part in text.split(",")]
    return None if None in networks else ", ".join(network for network in networks if network)


def _network(text: str) -> str | None:
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    bits = 24 if address.version == 4 else 48
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _network(str(address.ipv4_mapped))
        if address.sixtofour is not None:
            bits = 16 + 24  # its first 48 bits hold a whole IPv4 address (RFC 3056)
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False).network_address)
