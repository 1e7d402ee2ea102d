"""The rules of `redact`: which path means what, and how a text, a name and a value are masked."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, Final

import msgspec

from metlog.errors import ConfigError
from metlog.filters._masks import LIMIT, MASKS, Mask, lacks_all, may_find, of_pattern
from metlog.filters._paths import Paths

__all__ = ["CUT", "DROP", "KEEP", "MIN_KEY", "PSEUDONYMIZE", "Rules"]

DROP: Final = 1
KEEP: Final = 2
PSEUDONYMIZE: Final = 4
CUT: Final = 8

MIN_KEY: Final = 16
"""Characters that the key of pseudonyms has at least."""

_as_json: Final = msgspec.json.Encoder().encode
_CARD: Final = MASKS["credit_card"]
_EXACT: Final = 1e16  # a float below it is written with all digits of its whole part before the point
_CACHED: Final = 4096  # paths, and names, whose treatment is remembered
_LONGEST_CACHED: Final = 100  # characters


class Rules:
    """The options of `redact`, checked; raises ConfigError with every fault."""

    def __init__(
        self,
        *,
        drop: list[str] | None,
        keep: list[str] | None,
        pseudonymize: list[str] | None,
        key: str | None,
        cut_ip: list[str] | None,
        mask: list[str] | None,
        mask_with: str,
    ) -> None:
        problems: list[str] = []
        self.drop = Paths("drop", drop, problems)
        self.keep = None if keep is None else Paths("keep", keep, problems)
        self.pseudonymize = Paths("pseudonymize", pseudonymize, problems)
        self.cut = Paths("cut_ip", cut_ip, problems)
        self._masks = [found for pattern in mask or () if (found := _mask(pattern, problems)) is not None]
        self._mask_with = mask_with
        self.masks_text = bool(self._masks)
        """Whether there is any mask."""
        _check_key(key, bool(pseudonymize), problems)
        if not (drop or keep is not None or pseudonymize or cut_ip or mask):
            problems.append("redact does nothing; give drop, keep, pseudonymize, cut_ip or mask")
        if problems:
            raise ConfigError(problems)
        self._hmac = hmac.new((key or "").encode(), digestmod=hashlib.sha256)
        paths = (self.drop, self.keep, self.pseudonymize, self.cut)
        self.plain_names = all(item is None or item.names is not None for item in paths)
        """Whether every path is the name of a top-level field."""
        self._may_find = may_find if all(pattern in MASKS for pattern in mask or ()) else None
        self.codes: dict[str, int] = {}
        """Results of `code` by path, to look up first."""
        self._names: dict[str, str] = {}

    @property
    def by_name(self) -> bool:
        """Whether names of top-level fields decide alone: no wildcard, no nested path, no mask."""
        return self.plain_names and not self._masks

    def code(self, path: str) -> int:
        """What is to be done with the value under a path: the sum of DROP, KEEP, PSEUDONYMIZE and CUT."""
        code = DROP if self.drop.match(path) else 0
        if self.keep is not None and self.keep.match(path):
            code |= KEEP
        if self.pseudonymize.match(path):
            code |= PSEUDONYMIZE
        elif self.cut.match(path):
            code |= CUT
        if len(path) <= _LONGEST_CACHED:
            if len(self.codes) >= _CACHED:  # names made at run time
                self.codes.clear()
            self.codes[path] = code
        return code

    def text(self, text: str) -> str:
        """The text with what the masks find masked."""
        if self._may_find is not None and len(text) <= LIMIT and not self._may_find(text):
            return text
        for mask in self._masks:
            text = mask(text, self._mask_with)
        return text

    def number(self, value: float) -> Any:
        """The number, or the text that masks leave of it. A card is a whole number: the digits of a fraction are none."""
        before = text = str(value)
        if self._may_find is not None and not self._may_find(text):
            return value
        fraction = type(value) is float and abs(value) < _EXACT
        for mask in self._masks:
            whole, point, rest = text.partition(".") if fraction and mask is _CARD else (text, "", "")
            text = mask(whole, self._mask_with) + point + rest
        return value if text == before else text

    def lack_all(self, values: list[Any]) -> bool:
        """Whether it is sure without a look at each that no mask finds anything in texts, lists of such, and numbers."""
        if self._may_find is None:
            return False
        try:
            together = _as_json(values)
        except Exception:  # noqa: BLE001 - a lone surrogate, a huge number: each is looked at then
            return False
        return len(together) <= LIMIT and lacks_all(together)

    def find_nothing(self, texts: list[str]) -> bool:
        """Whether it can be seen at a glance that no mask finds anything in any of the texts."""
        together = "\n".join(texts)
        return self._may_find is not None and len(together) <= LIMIT and not self._may_find(together)

    def name(self, text: str) -> str:
        """As `text`, for what comes again and again: names of fields, types, tokens, loggers."""
        masked = self._names.get(text)
        if masked is None:
            masked = self.text(text)
            if len(text) <= _LONGEST_CACHED:
                if len(self._names) >= _CACHED:
                    self._names.clear()
                self._names[text] = masked
        return masked

    def pseudonym(self, text: str) -> str:
        """HMAC-SHA256 (RFC 2104) under the key, in hexadecimal."""
        signing = self._hmac.copy()  # the key's part is hashed once, not once a value
        signing.update(text.encode("utf-8", "surrogatepass"))
        return signing.hexdigest()


def _check_key(key: str | None, needed: bool, problems: list[str]) -> None:
    if needed and (key is None or len(key) < MIN_KEY):
        problems.append(
            f"key: pseudonymize needs a secret of at least {MIN_KEY} characters; take it from the environment: "
            "key = '${METLOG_PSEUDONYM_KEY}' in a file, os.environ['METLOG_PSEUDONYM_KEY'] in Python"
        )
    if key is not None and not needed:
        problems.append("key: means nothing without pseudonymize; name the paths there, or leave it out")


def _mask(pattern: str, problems: list[str]) -> Mask | None:
    if pattern in MASKS:
        return MASKS[pattern]
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        problems.append(f"mask = {pattern!r}: neither {', '.join(MASKS)} nor a regular expression: {error}")
        return None
    if compiled.fullmatch(""):
        problems.append(
            f"mask = {pattern!r}: matches the empty text, and so everything; make it match what is to be masked"
        )
        return None
    return of_pattern(compiled)
