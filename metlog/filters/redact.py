"""Privacy: drops, keeps, pseudonymises, shortens and masks before anything is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from metlog.event import ONE, Event
from metlog.filters import BaseFilter
from metlog.filters._addresses import cut_ip
from metlog.filters._masks import MASKS
from metlog.filters._rules import DROP, KEEP, MIN_KEY, Rules
from metlog.filters._walk import FieldRedactor
from metlog.values import MARK

__all__ = ["MASKS", "MIN_KEY", "Redact", "cut_ip"]


_MOST_KNOWN: Final = 4096  # names that are remembered
_LONGEST_KNOWN: Final = 100  # characters
_SIMPLE: Final = frozenset({str, int, float, bool, type(None)})
_NOTHING: Final[dict[str, str]] = {}
_MEASURES: Final = {"timer": "ms", "counter": "count"}
"""Field with the number of a measurement, by type of the event."""
_number: Final = msgspec.json.Encoder().encode


class Redact(BaseFilter):
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
        payload, type, tokens and logger, in values, in names, in exceptions and their tracebacks. Numbers are looked at as
        texts; of a float `credit_card` sees the whole part only.
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
        self._rules = rules = Rules(
            drop=drop, keep=keep, pseudonymize=pseudonymize, key=key, cut_ip=cut_ip, mask=mask, mask_with=mask_with
        )
        self._keep_all = keep is None
        self._keep = rules.keep
        self._by_name = rules.by_name
        self._plain: set[str] = set()
        self._untouched: set[str] = set()  # plain names of fields that stay as they are, where no mask looks at values
        self._clean_logger: str | None = None  # the `logger` in which no mask finds anything
        self._masks_text = rules.masks_text
        if rules.plain_names and type(self).__call__ is Redact.__call__:
            self.early = self._early if rules.masks_text else self._early_by_name
        self._dropped: frozenset[str] = rules.drop.names or frozenset()
        self._changed: frozenset[str] = (rules.pseudonymize.names or frozenset()) | (rules.cut.names or frozenset())

    def __call__(self, event: Event, /) -> Event | None:
        """A copy without what must not leave."""
        fields = event.fields
        if self._by_name and type(fields) is dict:
            dotted = False
            for name in fields:
                if type(name) is not str:  # as text it may equal a name of the list
                    break
                if "." in name:
                    dotted = True
            else:
                return self._below(event, fields) if dotted else self._named(event, fields)
        if not isinstance(fields, Mapping):
            fields = {"fields": fields}
        rules = self._rules
        walk = FieldRedactor(rules)
        made = walk.mapping(fields, None, kept=self._keep_all)
        if walk.notes:
            before = made.get(MARK)
            notes = [rules.text(f"fields.{note}") for note in walk.notes]
            made[MARK] = [*before, *notes] if isinstance(before, list) else notes
        if not rules.masks_text:
            return replace(event, fields=made)
        short = rules.name
        return replace(
            event,
            payload=self._payload(str(event.payload), event.type, made),
            fields=made,
            type=short(str(event.type)),
            tokens=tuple([short(str(token)) for token in event.tokens]),
            logger=short(str(event.logger)),
        )

    def _payload(self, payload: str, kind: str, fields: Mapping[str, Any]) -> str:
        """What masks leave of a payload; that of a measurement is its number, and stays where that does."""
        hidden = self._rules.text(payload)
        if hidden != payload and kind in _MEASURES:
            value = fields.get(_MEASURES[kind])
            if type(value) is float and payload in {str(value), _number(value).decode()}:
                return payload
        return hidden

    def _early_by_name(
        self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]
    ) -> float | None:
        """As `_early`; without masks most events have no field that is changed."""
        return ONE if self._untouched.issuperset(fields) else self._early(tokens, severity, payload, fields)

    def _early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float | None:
        """As the call, in place, where names of top-level fields decide alone, and masks find nothing but in texts of these."""
        if not self._plain.issuperset(fields) and not self._learn(fields):
            return None
        changed, keep = self._changed, self._keep
        if changed:
            for name in changed:
                if name in fields and fields[name].__class__ is not str:
                    return None
        if self._masks_text:
            masked = self._masked(tokens, payload, fields)
            if masked is None:
                return None
            if masked:
                fields.update(masked)
        if keep is not None:
            for name in [name for name in fields if not keep.match(name)]:
                del fields[name]
        for name in self._dropped:
            fields.pop(name, None)
        if changed:
            for name in changed:
                if name in fields:
                    fields[name] = FieldRedactor(self._rules).changed(fields[name], name, self._rules.code(name))
        return ONE

    def _learn(self, fields: dict[str, Any]) -> bool:
        """Whether all names are texts without a dot, in which no mask finds anything; such are remembered."""
        for name in fields:
            if name.__class__ is not str or "." in name or self._rules.name(name) != name:
                return False
        if len(self._plain) > _MOST_KNOWN:  # names made at run time
            self._plain.clear()
            self._untouched.clear()
        known = [name for name in fields if len(name) <= _LONGEST_KNOWN]
        self._plain.update(known)
        if not self._masks_text:
            nothing = 0 if self._keep is None else KEEP
            self._untouched.update(name for name in known if self._rules.code(name) == nothing)
        return True

    def _masked(self, tokens: tuple[str, ...], payload: Any, fields: dict[str, Any]) -> dict[str, str] | None:
        """The texts among the fields that masks change. None: they find something elsewhere, or there is more to look at."""
        rules, logger = self._rules, self.logger
        if logger is not self._clean_logger:
            if rules.name(logger) != logger:
                return None
            self._clean_logger = logger
        if payload.__class__ is not str:
            return None
        values = fields.values()
        if _SIMPLE.issuperset(map(type, values)) and rules.lack_all([payload, tokens, *values]):
            return _NOTHING
        texts = [payload, *tokens]
        for value in fields.values():
            kind = value.__class__
            if kind is str:
                texts.append(value)
            elif kind is int or kind is float:
                texts.append(str(value))
            elif value is not None and kind is not bool:
                return None
        if rules.find_nothing(texts):
            return {}
        text = rules.text
        if text(payload) != payload or any(rules.name(token) != token for token in tokens):
            return None
        found: dict[str, str] = {}
        for name, value in fields.items():
            if name in self._changed:
                continue
            if value.__class__ is str:
                masked = text(value)
                if masked != value:
                    found[name] = masked
            elif value is not None and value.__class__ is not bool and rules.number(value) is not value:
                return None
        return found

    def _named(self, event: Event, fields: dict[str, Any]) -> Event:
        """As the walk, where names of top-level fields decide alone; values need not be searched."""
        keep = self._keep
        made = fields.copy() if keep is None else {name: value for name, value in fields.items() if keep.match(name)}
        for name in self._dropped:
            if name in made:
                del made[name]
        for name in self._changed:
            if name in made:
                made[name] = FieldRedactor(self._rules).changed(made[name], name, self._rules.code(name))
        return replace(event, fields=made)

    def _below(self, event: Event, fields: dict[str, Any]) -> Event:
        """As `_named`, where a field may be below one that is named: `header.cookie` below `header`."""
        known, kept = self._rules.codes.get, self._keep_all
        made: dict[str, Any] = {}
        for name, value in fields.items():
            code = known(name)
            if code is None:
                code = self._rules.code(name)
            if code & DROP or not (kept or code & KEEP):
                continue
            made[name] = value if code <= KEEP else FieldRedactor(self._rules).changed(value, name, code)
        return replace(event, fields=made)
