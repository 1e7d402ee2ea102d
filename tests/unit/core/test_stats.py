"""Under which reasons losses are counted."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable

import pytest

from metlog import MetlogClient, SenderError
from metlog.senders import BaseSender


class Failing(BaseSender):
    """Raises an error of its own for each frame."""

    nonblocking = True

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error

    def send(self, frame: bytes) -> None:
        raise self.error()


class HouseError(SenderError):
    pass


def refused() -> Exception:
    return urllib.error.URLError(ConnectionRefusedError(111, "refused"))


def unencodable() -> Exception:
    return UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range(128)")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refused, "send_error"),
        (unencodable, "send_error"),
        (OSError, "send_error"),
        (lambda: SenderError("no"), "send_error"),
        (lambda: SenderError("no", reason="full"), "full"),
        (lambda: HouseError("no", reason="house"), "house"),
    ],
)
def test_what_a_sender_raises_is_counted_under_the_reason_of_a_sender_error_alone(
    error: Callable[[], Exception], reason: str
) -> None:
    """Other libraries have exceptions with a `reason` too: a sentence, or another exception."""
    client = MetlogClient.from_config({"sender": Failing(error), "buffer": {"flush_interval": 0}})
    for _ in range(3):
        client.log("event")
    assert client.stats().dropped == {reason: 3}
    client.close()
