"""The example frames of tests/corpus, and how what was read from them is held against what the manifest says."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from metlog.event import Event
from tests.helpers.paths import ROOT

FOLDER = ROOT / "tests" / "corpus"
MANIFEST: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text("utf-8"))
FRAMES: list[dict[str, Any]] = MANIFEST["frames"]

DEFAULTS: dict[str, Any] = {
    "tokens": [], "logger": "", "severity": 6, "payload": "", "fields": {}, "weight": 1.0, "env_version": "1", "pid": 0,
    "hostname": "", "stream": "", "seq": 0,
}  # fmt: skip


def frame_of(entry: dict[str, Any]) -> bytes:
    """The bytes of a file of the corpus."""
    data = (FOLDER / entry["file"]).read_bytes()
    return bytes.fromhex(re.sub(r"#.*", "", data.decode())) if entry["file"].endswith(".hex") else data


def of(folder: str, *, bad: bool | None = None) -> list[Any]:
    """The entries of one folder as parameters of a test, by name."""
    import pytest

    found = [entry for entry in FRAMES if entry["file"].startswith(f"{folder}/")]
    kept = [entry for entry in found if bad is None or bad == ("bad" in entry)]
    return [pytest.param(entry, id=entry["file"]) for entry in kept]


def whole(event: dict[str, Any]) -> dict[str, Any]:
    """An expected event with its defaults; without a timestamp it has none."""
    return {**DEFAULTS, **event}


def said(value: Any) -> Any:
    """A value that the `msgpack` package or Python's `json` read, as JSON says it."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(said(key)): said(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [said(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return rfc3339(value)
    return value


def rfc3339(moment: datetime) -> str:
    """In UTC, with `Z`, and with a fraction only where there is one."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def moment_of(text: str) -> datetime:
    """The other way round."""
    return datetime.fromisoformat(text)


def builtins(event: Event) -> dict[str, Any]:
    """An event of ours in the manifest's terms."""
    found: dict[str, Any] = msgspec.to_builtins(event)
    return {"weight": 1.0, **found, "tokens": list(event.tokens), "timestamp": rfc3339(event.timestamp)}


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """`found` are whole; what was expected without a timestamp may have any."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        wanted = whole(other)
        if "timestamp" in wanted:
            assert moment_of(one["timestamp"]) == moment_of(wanted["timestamp"])
        assert {key: one[key] for key in DEFAULTS} == {key: wanted[key] for key in DEFAULTS}
        assert one["type"] == wanted["type"]


def in_utc(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the journal has the time as it came; readers bring what UTC cannot say to the nearest."""
    try:
        return {**line, "timestamp": rfc3339(moment_of(line["timestamp"]))} if "timestamp" in line else line
    except OverflowError:
        year = line["timestamp"][:4]
        return {**line, "timestamp": "0001-01-01T00:00:00Z" if year == "0001" else "9999-12-31T23:59:59.999999Z"}
    except ValueError:  # digits beyond the microsecond, or a blank for T, which Python 3.11 does not read
        return {
            **line,
            "timestamp": rfc3339(msgspec.json.decode(msgspec.json.encode(line["timestamp"]), type=datetime)),
        }
