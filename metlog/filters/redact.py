"""Privacy: drops, keeps, pseudonymises, shortens and masks before anything is encoded."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from metlog.event import Event

__all__ = ["MASKS", "Redact"]

_DEPTH: Final = 32  # of nesting (dots in a name included) that is looked at; what lies deeper is dropped


def _luhn(text: str) -> bool:
    digits = [int(char) for char in text if char.isdigit()]
    total = 0
    for index, digit in enumerate(reversed(digits)):
        twice = digit * 2 if index % 2 else digit
        total += twice - 9 if twice > 9 else twice
    return 13 <= len(digits) <= 19 and total % 10 == 0


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        return False
    return True


MASKS: Final[dict[str, tuple[re.Pattern[str], Callable[[str], bool] | None]]] = {
    # Every repetition is bounded and no two that touch share a character, so that no text makes them slow.
    "email": (re.compile(r"[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"), None),
    "ipv4": (re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)"), _address),
    "ipv6": (
        re.compile(r"(?<![0-9A-Fa-f:.])[0-9A-Fa-f:]{2,39}(?::\d{1,3}(?:\.\d{1,3}){3})?(?![0-9A-Fa-f:])"),
        _address,
    ),
    "credit_card": (re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)"), _luhn),
}
"""Ready-made patterns: the expression, and a check of what it found (a checksum, an address that parses)."""


class Redact:
    """Removes what must not leave the process, from fields and payload, nested values and keys included.

    - `drop`: paths of fields to remove; `*` is one name or index, `**` any depth: `password`, `*.token`, `**.secret`. A dot in
      a field's own name counts as one in the path: `header.cookie` is the middleware's field of that name, and `cookie` in `header`.
    - `keep`: when given, only these paths (and what lies below them) are kept.
    - `pseudonymize`: paths whose value becomes its HMAC-SHA256 under `key` (64 hexadecimal characters): unique counts
      still work.
    - `cut_ip`: paths whose IP address is cut to /24 (IPv4) or /48 (IPv6).
    - `mask`: regular expressions, or the names `email`, `ipv4`, `ipv6`, `credit_card`; what they find in the payload, in values
      and in keys (exception texts too) becomes `mask_with`.

    The caller's own objects are never changed.
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
        self._drop = _paths("drop", drop, wrong)
        self._keep = None if keep is None else _paths("keep", keep, wrong)
        self._pseudonymize = _paths("pseudonymize", pseudonymize, wrong)
        self._cut = _paths("cut_ip", cut_ip, wrong)
        self._masks = [found for pattern in mask or () if (found := _mask(pattern, wrong)) is not None]
        self._mask_with = mask_with
        if self._pseudonymize and (key is None or len(key) < 16):
            wrong.append(
                "key: pseudonymize needs a secret of at least 16 characters; take it from the environment: ${NAME}"
            )
        self._key = (key or "").encode()
        if not (drop or keep is not None or pseudonymize or cut_ip or mask):
            wrong.append("redact does nothing; give drop, keep, pseudonymize, cut_ip or mask")
        if wrong:
            raise ValueError("; ".join(wrong))

    def __call__(self, event: Event, /) -> Event | None:
        """A copy without what must not leave."""
        fields = self._mapping(event.fields, (), self._keep is None) if isinstance(event.fields, dict) else {}
        return replace(
            event,
            payload=self._text(str(event.payload)),
            fields=fields,
            type=self._text(str(event.type)),
            tokens=tuple(self._text(str(token)) for token in event.tokens),
        )

    def _mapping(self, value: dict[Any, Any], path: tuple[str, ...], kept: bool) -> dict[str, Any]:
        made = {}
        for name, item in value.items():
            key = name if isinstance(name, str) else str(name)
            here = (*path, key)
            if key.count(".") > _DEPTH or _covers(self._drop, here):
                continue
            keep = kept or _covers(self._keep or (), here)
            if not keep and not (isinstance(item, (dict, list, tuple)) and _leads(self._keep or (), here)):
                continue
            made[self._text(key)] = self._value(item, here, keep)
        return made

    def _value(self, value: Any, path: tuple[str, ...], kept: bool) -> Any:
        if len(path) > _DEPTH:
            return None
        if _matches(self._pseudonymize, path):
            return hmac.new(self._key, _plain(value).encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        if _matches(self._cut, path):
            return _cut_ip(_plain(value))
        if isinstance(value, dict):
            return self._mapping(value, path, kept)
        if isinstance(value, (list, tuple, set, frozenset)):
            return [
                self._value(item, (*path, str(index)), kept)
                for index, item in enumerate(value)
                if not _matches(self._drop, (*path, str(index)))
            ]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            text = str(value)  # a card number may well be a number
            return self._text(text) if self._masks and self._text(text) != text else value
        if isinstance(value, str):
            return self._text(value)
        if not self._masks and not self._drop and self._keep is None:
            return value
        return self._text(_shown(value))  # an object's attributes cannot be searched by path, its text can

    def _hide(self, valid: Callable[[str], bool] | None, found: re.Match[str]) -> str:
        return self._mask_with if valid is None or valid(found[0]) else found[0]

    def _text(self, text: str) -> str:
        for pattern, valid in self._masks:
            text = pattern.sub(partial(self._hide, valid), text)
        return text


def _paths(option: str, paths: list[str] | None, wrong: list[str]) -> tuple[tuple[str, ...], ...]:
    wrong.extend(
        f"{option} = {path!r}: wants names joined by dots, as user.email or *.token"
        for path in paths or ()
        if "" in path.split(".")
    )
    return tuple(tuple(path.split(".")) for path in paths or ())


def _mask(pattern: str, wrong: list[str]) -> tuple[re.Pattern[str], Callable[[str], bool] | None] | None:
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
    return compiled, None


def _matches(patterns: tuple[tuple[str, ...], ...], path: tuple[str, ...]) -> bool:
    return any(_fits(pattern, path) for pattern in patterns)


def _covers(patterns: tuple[tuple[str, ...], ...], path: tuple[str, ...]) -> bool:
    """Whether the path is meant, or its last name is `a.b` and `a` is meant."""
    if _matches(patterns, path):
        return True
    above, dot, _ = path[-1].rpartition(".")
    return bool(dot) and _covers(patterns, (*path[:-1], above))


def _fits(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    if not pattern:
        return not path
    if path and "." in path[0] and _fits(pattern, _split(path)):
        return True  # a key `header.cookie` is what `header.cookie` names, as well as `cookie` in `header`
    if pattern[0] == "**":
        return _fits(pattern[1:], path) or (bool(path) and _fits(pattern, path[1:]))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _fits(pattern[1:], path[1:])


def _split(path: tuple[str, ...]) -> tuple[str, ...]:
    return (*path[0].split("."), *path[1:])


def _leads(patterns: tuple[tuple[str, ...], ...], path: tuple[str, ...]) -> bool:
    """Whether something below the path may be kept."""
    if path and "." in path[0] and _leads(patterns, _split(path)):
        return True
    return any(
        "**" in pattern[: len(path) + 1] or (len(pattern) > len(path) and _fits(pattern[: len(path)], path))
        for pattern in patterns
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, BaseException):
        from metlog.tracebacks import render

        return render(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - `__str__` is code of the application
        return f"<its text cannot be had: {type(error).__name__}>"


def _cut_ip(text: str) -> str | None:
    """The network of an address; None for what is no address, so that nothing slips through."""
    try:
        address = ipaddress.ip_address(text.strip().split("%", 1)[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False).network_address)
