"""Frames with a signature: HMAC-SHA256 over what another encoder made."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from metlog.core.adapt import adapt_encoder
from metlog.encoders import BaseEncoder
from metlog.errors import ConfigError, DecodeError
from metlog.event import Event
from metlog.plugins import build

__all__ = ["MIN_KEY", "SignedEncoder", "verified"]

MIN_KEY: Final = 16
"""Bytes that a key has at least; RFC 2104 advises 32, the length of the digest."""

_ALGORITHM: Final = "hmac-sha256"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_HEADER: Final = 512


class _Header(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    algorithm: str = msgspec.field(name="metlog.signed")
    key: str
    bytes: int
    mac: str


_read_header: Final = msgspec.json.Decoder(_Header).decode
_write_header: Final = msgspec.json.Encoder().encode


class SignedEncoder(BaseEncoder):
    """Signs the frames of another encoder, and refuses those that do not verify.

    A frame is a line of JSON and then the other encoder's frame, byte for byte:

        {"metlog.signed":"hmac-sha256","key":"2026","bytes":312,"mac":"9f…"}

    `key` is the secret that signs, `key_id` tells the receiver which one it was. `keys` (id to secret) holds further
    keys that `decode` takes, so that a key can be replaced without a gap: receivers learn the new one, then senders use
    it, then receivers forget the old one. Keep secrets out of files: `key = "${METLOG_SIGNING_KEY}"`.

    A signature proves who sent a frame, and that it is whole. It encrypts nothing, and a frame sent again verifies again.
    """

    def __init__(
        self, *, key: str, key_id: str = "default", encoder: Any = "json", keys: dict[str, str] | None = None
    ) -> None:
        secrets = {**(keys or {}), key_id: key}
        problems = [
            f"key_id = {name!r}: up to 64 letters, digits, dots, dashes and underscores"
            for name in secrets
            if not _KEY_ID.fullmatch(name)
        ]
        problems += [
            f"key {name!r}: a secret of {len(secret.encode())} bytes is too short; use at least {MIN_KEY}, such as "
            "the output of: openssl rand -hex 32"
            for name, secret in secrets.items()
            if len(secret.encode()) < MIN_KEY
        ]
        if problems:
            raise ConfigError(problems)
        self._inner: BaseEncoder = (
            build("encoder", encoder, "encoder") if isinstance(encoder, (str, Mapping)) else adapt_encoder(encoder)
        )
        self._key_id = key_id
        self._secrets = {name: secret.encode() for name, secret in secrets.items()}
        self._signing = hmac.new(self._secrets[key_id], digestmod="sha256")
        self.content_type = "application/x-metlog-signed"
        self.overhead = len(self._header(b"")) + 8
        """Bytes that a frame has more than the other encoder's."""
        self.encode = self._inner.encode  # type: ignore[method-assign] # no call more on the fast path
        self.silent = self._inner.silent

    @property
    def repaired(self) -> int:
        """Events of which the other encoder had to convert a value."""
        return self._inner.repaired

    def _header(self, inner: bytes) -> bytes:
        mac = self._signing.copy()  # the key's part is hashed once, not once a frame
        mac.update(inner)
        return _write_header(_Header(_ALGORITHM, self._key_id, len(inner), mac.hexdigest())) + b"\n"

    def frame(self, encoded: list[bytes]) -> bytes:
        """The other encoder's frame below the line that signs it."""
        inner = self._inner.frame(encoded)
        return self._header(inner) + inner

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises DecodeError when a signature is missing, wrong or made with an unknown key."""
        return self._inner.decode(verified(frame, self._secrets))


def verified(frame: bytes, keys: Mapping[str, bytes]) -> bytes:
    """What was signed, without the line that signs it; raises DecodeError with the reason.

    `keys` are the accepted secrets by key id. The comparison takes the same time wherever the difference is.
    """
    line, found, rest = frame[:_MAX_HEADER].partition(b"\n")
    try:
        header = _read_header(line) if found else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        header = None
    if header is None:
        raise DecodeError("the frame is not signed; only signed ones are taken here")
    if header.algorithm != _ALGORITHM:
        raise DecodeError(f"signed with {header.algorithm[:40]!r}; only {_ALGORITHM} is known")
    secret = keys.get(header.key)
    if secret is None:
        raise DecodeError(f"signed with the key {header.key[:64]!r}, which is not among the accepted ones")
    rest = frame[len(line) + 1 :]
    if header.bytes != len(rest):
        raise DecodeError(f"the signature covers {header.bytes} bytes, the frame has {len(rest)} after it")
    mac = hmac.new(secret, rest, "sha256").hexdigest()
    if not hmac.compare_digest(mac.encode(), header.mac.encode()):
        raise DecodeError(f"the signature with the key {header.key!r} is wrong: changed on the way, or another secret")
    return rest
