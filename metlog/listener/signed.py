"""Signed frames at an input: what is taken, what is refused with which reason, and how long a frame that was recorded can be sent again.

A frame of the encoder `signed` (metlog/encoders/signed.py) carries an HMAC-SHA256 of all that follows its first line. Between the input and
the journal stands `SignedSink`: it takes a frame whose signature is right, was not seen before, and whose newest event is no older, and no
further ahead, than the window. Everything else is a dead letter with one of `REASONS`.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from metlog.encoders.signed import MIN_KEY, verified
from metlog.encoders.wire import is_map, is_msgpack
from metlog.errors import ConfigError, DecodeError
from metlog.listener.inputs import Sink
from metlog.listener.validate import Validated

__all__ = ["REASONS", "SignedSink", "Signing", "signing_of"]

UNSIGNED: Final = "not signed"
ALGORITHM: Final = "signed in a way that is not known"
KEY: Final = "signed with a key that is not known"
WRONG: Final = "signature wrong"
REPLAYED: Final = "signed frame sent again"
STALE: Final = "signed frame outside the window of time"
REASONS: Final = (UNSIGNED, ALGORITHM, KEY, WRONG, REPLAYED, STALE)
"""Reasons of dead letters."""

_SIGNATURE: Final = b'{"metlog.signed":'
_REMEMBERED: Final = 200_000
"""Signatures that are known again within the window; about 25 MB."""


class _Moment(Struct, gc=False):
    timestamp: datetime | None = None


_json_moments: Final = msgspec.json.Decoder(_Moment).decode_lines
_packed_moment: Final = msgspec.msgpack.Decoder(_Moment).decode
_packed_moments: Final = msgspec.msgpack.Decoder(list[_Moment]).decode


class Signing(Struct, frozen=True):
    """What an input demands."""

    keys: dict[str, bytes]
    required: bool = True
    """Whether unsigned frames are refused; a signature that is there must be right in any case."""
    window: float = 300.0
    """Seconds by which the newest event of a frame may differ from the listener's clock."""


class _Rejected(Exception):
    """A frame that is not taken: the reason with its detail."""


class _Opened(threading.local):
    """What a thread has opened and not submitted yet."""

    digest = b""
    """Of a body that is new and came without a key; empty for every other."""


class SignedSink:
    """The sink of one input. Any thread."""

    def __init__(self, sink: Sink, signing: Signing, now: Any = time.time) -> None:
        self._sink = sink
        self._signing = signing
        self._now = now
        self._lock = threading.Lock()
        self._seen: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        """Signatures with the time until which they are remembered and the key they came under, the oldest first."""
        self._opened = _Opened()

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        self.frames([(data, source)], received_at)

    def frames(self, batch: Sequence[tuple[bytes | Validated, str]], received_at: int | None = None) -> None:
        taken: list[tuple[bytes | Validated, str]] = []
        for data, source in batch:
            if isinstance(data, Validated):  # what an input made itself has no signature
                if self._signing.required:
                    self._sink.reject(data.lines, source, UNSIGNED)
                else:
                    taken.append((data, source))
                continue
            try:
                taken.append((self._open(data)[0], source))
            except _Rejected as refused:
                self._sink.reject(data, source, str(refused))
        if taken:
            self._sink.frames(taken, received_at)

    def opened(self, body: bytes, source: str, key: str = "") -> bytes | None:
        """What was signed of a whole body; None for one that is a dead letter now. A body may come again under the `key` of the first time,
        by which the journal knows it; without a key, when its `submit`, which is the next one of this thread, raised."""
        self._opened.digest = b""
        try:
            inner, digest = self._open(body, key)
        except _Rejected as refused:
            self._sink.reject(body, source, str(refused))
            return None
        if not key:
            self._opened.digest = digest
        return inner

    def submit(self, events: Any, source: str, *, key: str = "", received_at: int | None = None) -> bool:
        """Of events whose body was `opened`, by the same thread."""
        digest, self._opened.digest = self._opened.digest, b""
        try:
            return self._sink.submit(events, source, key=key, received_at=received_at)
        except BaseException:  # nothing was taken, and the sender is told to send it again
            with self._lock:
                self._seen.pop(digest, None)
            raise

    def reject(self, data: bytes, source: str, reason: str) -> None:
        self._sink.reject(data, source, reason)

    def _open(self, frame: bytes, key: str = "") -> tuple[bytes, bytes]:
        """What was signed, and its digest, which is empty where nothing was. Raises _Rejected."""
        if not frame.startswith(_SIGNATURE):
            if self._signing.required:
                raise _Rejected(UNSIGNED)
            return frame, b""
        try:
            inner = verified(frame, self._signing.keys)
        except DecodeError as error:
            raise _Rejected(f"{_reason(str(error))}: {error}") from error
        self._check_time(inner)
        digest = blake2b(inner, digest_size=16).digest()
        self._check_new(digest, key)
        return inner, digest

    def _check_time(self, inner: bytes) -> None:
        try:
            if not is_msgpack(inner):
                found = _json_moments(inner)
            elif is_map(inner):
                found = [_packed_moment(inner)]
            else:
                found = _packed_moments(inner)
            newest = max((event.timestamp.timestamp() for event in found if event.timestamp is not None), default=None)
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
            newest = None
        if newest is None:  # who can sign can put a time in; without one it could be sent again for ever
            raise _Rejected(f"{STALE}: no event of it has a time that can be read")
        off = newest - self._now()
        if abs(off) > self._signing.window:
            raise _Rejected(
                f"{STALE}: {abs(off):.0f} s {'ahead' if off > 0 else 'old'}, the window is {self._signing.window:g} s"
            )

    def _check_new(self, digest: bytes, key: str) -> None:
        """By what was signed; the line that signs it could be spelt in other ways."""
        now = self._now()
        with self._lock:
            until, first = self._seen.get(digest, (0.0, ""))
            if until > now:
                if key and key == first:
                    return
                raise _Rejected(REPLAYED)
            # A frame of the far end of the window can be sent again for twice its length.
            self._seen.pop(digest, None)
            self._seen[digest] = (now + 2 * self._signing.window, key)
            while self._seen and (len(self._seen) > _REMEMBERED or next(iter(self._seen.values()))[0] <= now):
                self._seen.popitem(last=False)

    def __len__(self) -> int:
        return len(self._seen)


def _reason(text: str) -> str:
    if "not among the accepted" in text:
        return KEY
    if text.startswith("signed with"):
        return ALGORITHM
    return UNSIGNED if "not signed" in text else WRONG


def signing_of(where: str, *, keys: Any, keys_file: Any, signed: Any, replay_window: Any) -> Signing | None:
    """What an input's options `keys` (id to secret), `keys_file` (lines of an id and a secret), `signed` (`required`, the default where
    there are keys, or `optional`) and `replay_window` (seconds) say; None without any. Raises ConfigError that shows no secret."""
    if keys is None and keys_file is None and signed is None and replay_window is None:
        return None
    found: dict[str, bytes] = {}
    if keys is not None:
        try:
            found |= {name: secret.encode() for name, secret in msgspec.convert(keys, dict[str, str]).items()}
        except msgspec.ValidationError:
            raise ConfigError(f'{where}.keys: wants a table of ids and secrets, as {{ prod = "…" }}') from None
    if keys_file is not None:
        found |= _read(where, keys_file)
    if not found:
        raise ConfigError(f"{where}.signed: wants `keys` or `keys_file` with the secrets of the senders")
    for name, secret in found.items():
        if len(secret) < MIN_KEY:
            raise ConfigError(
                f"{where}.keys.{name}: a secret of {len(secret)} bytes is too short; use at least {MIN_KEY}, such as the output of: "
                "openssl rand -hex 32"
            )
    mode: Literal["required", "optional"]
    try:
        mode = msgspec.convert("required" if signed is None else signed, Literal["required", "optional"])
    except msgspec.ValidationError:
        raise ConfigError(f'{where}.signed = {signed!r}: wants "required" or "optional"') from None
    if replay_window is not None and (
        isinstance(replay_window, bool)
        or not isinstance(replay_window, (int, float))
        or not 1 <= replay_window <= 86400
    ):
        raise ConfigError(f"{where}.replay_window = {replay_window!r}: wants 1 to 86400 seconds")
    return Signing(found, mode == "required", float(replay_window) if replay_window is not None else 300.0)


def _read(where: str, path: Any) -> dict[str, bytes]:
    try:
        lines = Path(str(path)).expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{where}.keys_file = {str(path)!r}: {getattr(error, 'strerror', None) or 'is not UTF-8'}"
        ) from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, secret = line.strip().partition(" ")
        if not secret.strip():
            raise ConfigError(f"{where}.keys_file = {str(path)!r}: line {number} wants an id, a space and a secret")
        found[name] = secret.strip().encode()
    return found
