"""Privacy: drops, keeps, pseudonymises, shortens and masks before anything is encoded."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from metlog.errors import ConfigError
from metlog.event import Event
from metlog.filters._addresses import cut_ip
from metlog.filters._masks import MASKS, Mask, of_pattern
from metlog.filters._paths import Paths
from metlog.filters._walk import CUT, DROP, KEEP, PSEUDONYMIZE, Pass
from metlog.values import MARK

__all__ = ["MASKS", "Redact", "cut_ip"]

MIN_KEY: Final = 16
"""Characters that the key of pseudonyms has at least."""

_MOST_KNOWN: Final = 4096
"""Paths, and texts, whose treatment is remembered."""
_LONGEST_KNOWN: Final = 100


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

    A path means what it names and all below it. A field named with dots (`header.cookie`) is found by the same paths as a
    nested one: by `header.cookie`, `header` and `*.cookie`. Objects are looked at as the encoders would write them. The
    caller's own objects are never changed.
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
        self._kept = self._keep is None
        self._by_name = not self._masks and all(
            paths is None or paths.names is not None
            for paths in (self._drop, self._keep, self._pseudonymize, self._cut)
        )
        """Only names of fields count: nothing is to be found inside a value, or in a text."""
        self._dropped = self._drop.names or ()
        self._changed = tuple((self._pseudonymize.names or set()) | (self._cut.names or set()))
        self.codes: dict[str, int] = {}
        self._hidden: dict[str, str] = {}

    def __call__(self, event: Event, /) -> Event | None:
        """A copy without what must not leave."""
        fields = event.fields
        if self._by_name and type(fields) is dict:
            dotted = False
            for name in fields:
                if type(name) is not str:  # it may become one that is to be found
                    break
                if "." in name:
                    dotted = True
            else:
                return self._below(event, fields) if dotted else self._named(event, fields)
        if not isinstance(fields, Mapping):
            fields = {"fields": fields}
        walk = Pass(self)
        made = walk.mapping(fields, None, kept=self._kept)
        if walk.notes:
            before = made.get(MARK)
            notes = [self.text(f"fields.{note}") for note in walk.notes]
            made[MARK] = [*before, *notes] if isinstance(before, list) else notes
        if not self._masks:
            return replace(event, fields=made)
        short = self.name
        return replace(
            event,
            payload=self.text(str(event.payload)),
            fields=made,
            type=short(str(event.type)),
            tokens=tuple([short(str(token)) for token in event.tokens]),
            logger=short(str(event.logger)),
        )

    def _named(self, event: Event, fields: dict[str, Any]) -> Event:
        """As by the walk, where names alone say what happens; what is inside the values need not be looked at."""
        if self._keep is None:
            made = fields.copy()
        else:
            keep = self._keep.match
            made = {name: value for name, value in fields.items() if keep(name)}
        for name in self._dropped:
            if name in made:
                del made[name]
        for name in self._changed:
            if name in made:
                made[name] = Pass(self).changed(made[name], name, self.code(name))
        return replace(event, fields=made)

    def _below(self, event: Event, fields: dict[str, Any]) -> Event:
        """As `_named`, where a field may be below one that is named: `header.cookie` below `header`."""
        known, kept = self.codes.get, self._kept
        made: dict[str, Any] = {}
        for name, value in fields.items():
            code = known(name)
            if code is None:
                code = self.code(name)
            if code & DROP or not (kept or code & KEEP):
                continue
            made[name] = value if code <= KEEP else Pass(self).changed(value, name, code)
        return replace(event, fields=made)

    def code(self, path: str) -> int:
        """What is to be done with the value under a path: the sum of DROP, KEEP, PSEUDONYMIZE and CUT."""
        code = DROP if self._drop.match(path) else 0
        if self._keep is not None and self._keep.match(path):
            code |= KEEP
        if self._pseudonymize.match(path):
            code |= PSEUDONYMIZE
        elif self._cut.match(path):
            code |= CUT
        if len(path) <= _LONGEST_KNOWN:
            if len(self.codes) >= _MOST_KNOWN:  # names made at run time
                self.codes.clear()
            self.codes[path] = code
        return code

    def text(self, text: str) -> str:
        """The text with what the masks find hidden."""
        for mask in self._masks:
            text = mask(text, self._mask_with)
        return text

    def name(self, text: str) -> str:
        """As `text`, for what comes again and again: names of fields, types, tokens, loggers."""
        hidden = self._hidden.get(text)
        if hidden is None:
            hidden = self.text(text)
            if len(text) <= _LONGEST_KNOWN:
                if len(self._hidden) >= _MOST_KNOWN:
                    self._hidden.clear()
                self._hidden[text] = hidden
        return hidden

    @property
    def masks_text(self) -> bool:
        """Whether there is any mask."""
        return bool(self._masks)

    def pseudonym(self, text: str) -> str:
        """HMAC-SHA256 (RFC 2104) under the key, in hexadecimal."""
        signing = self._signing.copy()  # the key's part is hashed once, not once a value
        signing.update(text.encode("utf-8", "surrogatepass"))
        return signing.hexdigest()


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
