"""Ready-made patterns of what identifies people: each finds all of a kind in a text and puts something else in its place.

Every search takes time in proportion to the text, whatever the text is: it may come from outside.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["LIMIT", "MASKS", "Mask", "lacks_all", "may_find", "of_pattern"]

Mask = Callable[[str, str], str]
"""(text, what to put in place) -> text"""


# ---- e-mail addresses: RFC 5321's, with letters of any script, also as they stand in a URL (`ann%40example.org`) -------

_LOCAL: Final = r"\w.!#$&'*+^`{|}~\-"
_DOMAIN: Final = r"(?:[\w-]++(?:\.[\w-]++)++|\[[0-9A-Fa-f:.]{2,45}\])"
_EMAIL: Final = re.compile(
    rf"(?:(?<![{_LOCAL}%])[{_LOCAL}%]++|\"[^\"\n]{{1,64}}\")@{_DOMAIN}|(?<![{_LOCAL}])[{_LOCAL}]++%40{_DOMAIN}"
)


def _email(text: str, mask: str) -> str:
    return _EMAIL.sub(lambda _: mask, text) if "@" in text or "%40" in text else text


# ---- IPv4: four numbers up to 255, leading zeros as well; five or more (a version, an object identifier) are none ------

_IPV4: Final = re.compile(r"(?<!\d)(?<!\d\.)\d{1,3}(?:\.\d{1,3}){3}(?!\d)(?!\.\d)")


def _ipv4(text: str, mask: str) -> str:
    def hide(found: re.Match[str]) -> str:
        return mask if all(int(part) <= 255 for part in found[0].split(".")) else found[0]

    return _IPV4.sub(hide, text) if "." in text and text.count(".") >= 3 else text


# ---- IPv6: every form of RFC 4291, section 2.2, with a zone; in brackets, before a port or a colon, after a word --------

_GROUP: Final = r"[0-9A-Fa-f]{1,4}(?!\w)"
_TAIL: Final = r"\d{1,3}(?:\.\d{1,3}){3}(?!\d)"
_IPV6: Final = re.compile(
    rf"(?<!\w)(?:(?:{_GROUP}(?::{_GROUP}){{0,6}})?::(?:(?:{_GROUP}:){{0,5}}{_TAIL}|{_GROUP}(?::{_GROUP}){{0,6}})?"
    rf"|(?P<whole>(?:{_GROUP}:){{6}}{_TAIL}|{_GROUP}(?::{_GROUP}){{7}}(?!:{_GROUP}:)))"
    r"(?:%(?:25)?\w[\w.-]{0,20})?"
)
_GROUP_BEFORE: Final = re.compile(r"(?<!\w)[0-9A-Fa-f]{1,4}:$")


def _ipv6(text: str, mask: str) -> str:
    def hide(found: re.Match[str]) -> str:
        # Groups of two digits without end are a fingerprint, eight of them in its middle or at its end are no address.
        if found["whole"] and _GROUP_BEFORE.search(text[max(0, found.start() - 6) : found.start()]):
            return found[0]
        return mask if _is_ipv6(found[0].partition("%")[0]) else found[0]

    # Without :: it has seven colons, or six before an IPv4 address.
    return _IPV6.sub(hide, text) if ":" in text and ("::" in text or text.count(":") >= 6) else text


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return text != "::"  # alone it is punctuation


# ---- payment cards: 13 to 19 digits whose check digit is right, in groups or not ----------------------------------------

_DIGITS: Final = re.compile(r"(?<!\d)\d++(?:[ .\u00a0\u202f-]{1,2}\d++)*")
_FEWEST, _MOST = 13, 19
_ENOUGH: Final = re.compile(rf"(?<!\d)\d(?:[ .\u00a0\u202f-]{{0,2}}\d){{{_FEWEST - 1}}}").search
"""Whether there are so many digits at all: cheaper than to look at every group."""


def _credit_card(text: str, mask: str) -> str:
    def hide(found: re.Match[str]) -> str:
        made, last = "", 0
        for start, end in _cards_in(found[0]):
            made += found[0][last:start] + mask
            last = end
        return made + found[0][last:]

    return _DIGITS.sub(hide, text) if len(text) >= _FEWEST and _ENOUGH(text) else text


def _cards_in(run: str) -> Iterator[tuple[int, int]]:
    """Where cards lie in digits with separators. One begins and ends with a group: `2026-05-01 4111111111111111`."""
    groups = [(found.start(), found.end()) for found in re.finditer(r"\d+", run)]
    if sum(end - start for start, end in groups) < _FEWEST:
        return
    luhn = _Luhn("".join(run[start:end] for start, end in groups))
    first = position = 0
    while first < len(groups):
        card, end = None, position
        for last in range(first, len(groups)):
            end += groups[last][1] - groups[last][0]
            if end - position > _MOST:
                break
            if end - position >= _FEWEST and luhn.right(position, end):
                card, after = last, end  # the longest wins
        if card is None:
            position += groups[first][1] - groups[first][0]
            first += 1
        else:
            yield groups[first][0], groups[card][1]
            first, position = card + 1, after


class _Luhn:
    """The check digits (ISO/IEC 7812-1, annex B) of all parts of a row of digits, each without going through it again."""

    def __init__(self, digits: str) -> None:
        # Sums up to each place, with the digits at even places doubled, and with those at odd ones.
        self._sums: tuple[list[int], list[int]] = ([0], [0])
        for place, char in enumerate(digits):
            digit = int(char)
            twice = digit * 2 - 9 if digit > 4 else digit * 2
            for parity, sums in enumerate(self._sums):
                sums.append(sums[-1] + (twice if place % 2 == parity else digit))

    def right(self, start: int, end: int) -> bool:
        """Whether the digits from `start` up to `end` have a right check digit: every second one from the end doubled."""
        sums = self._sums[end % 2]
        return (sums[end] - sums[start]) % 10 == 0


LIMIT: Final = 65_536
"""Characters of a text that are looked at, which takes 0.15 s at most; what comes after them is left out of the event."""
_TORN: Final = 300
"""Characters before that limit in which something may begin that it cuts in two."""


def _bounded(mask: Mask) -> Mask:
    """The same for a text of any length: what was not looked at is not sent."""

    def put(text: str, instead: str) -> str:
        if len(text) <= LIMIT:
            return mask(text, instead)
        head = text[:LIMIT]
        whole = max((head.rfind(space, LIMIT - _TORN) for space in " \n\t"), default=-1)
        head = head[: whole if whole >= 0 else LIMIT - _TORN]
        return f"{mask(head, instead)}… ({len(text) - len(head)} characters left out)"

    return put


MASKS: Final[dict[str, Mask]] = {
    "email": _bounded(_email),
    "ipv4": _bounded(_ipv4),
    "ipv6": _bounded(_ipv6),
    "credit_card": _bounded(_credit_card),
}
"""The ready-made ones by name."""


_AT, _PERCENT, _COLON, _DOT = b"@%:."
_NOT_DIGITS: Final = bytes(code for code in range(256) if chr(code) not in ".0123456789")
_needed: Final = re.compile(
    rf"[@%:\d](?:(?<!\d)|\.\d{{1,3}}\.\d{{1,3}}\.\d|(?:\D*+\d){{{_FEWEST - 1}}})"  # a set first: the others are skipped in C
).search


def lacks_all(data: bytes) -> bool:
    """Whether texts together, as they are or as JSON, lack what each of the ready-made masks needs; False when it is not sure."""
    # By their codes: to look for bytes in bytes takes ten times as long. Beyond ASCII there are more digits than ten.
    if _AT in data or _PERCENT in data or _COLON in data or not data.isascii():
        return False
    left = data.translate(None, _NOT_DIGITS)
    dots = left.count(_DOT)
    return dots < 3 and len(left) - dots < _FEWEST


def may_find(text: str) -> bool:
    """Whether a text, or several in one, has what each of the ready-made masks needs: one look instead of four."""
    return not (text.isascii() and lacks_all(text.encode())) and _needed(text) is not None


def of_pattern(pattern: re.Pattern[str]) -> Mask:
    """A mask of a user's own expression."""

    def put(text: str, mask: str) -> str:
        return pattern.sub(lambda _: mask, text)

    return _bounded(put)
