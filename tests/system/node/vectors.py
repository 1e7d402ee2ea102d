"""Makes clients/node/test/vectors.json: what the Python client does with given input, for the Node.js client to do the same.

python tests/system/node/vectors.py          # writes the file; a test compares it with what would be written
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import metlog
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.integrations.wsgi import MetlogMiddleware

ROOT = Path(__file__).parents[3]
TARGET = ROOT / "clients" / "node" / "test" / "vectors.json"
KEY = "a secret of at least sixteen characters"

VALUES: list[Any] = [
    "u1",
    "",
    "ann@example.org",
    "Jürgen",
    "почта",
    "😀",
    "a" * 300,
    17,
    0,
    -5,
    12.5,
    0.1,
    1e21,
    1e-7,
    True,
    False,
    [1, "a"],
    {"b": 1, "a": [2.5, None]},
    {"ä": 1, "z": 2, "a": 3},
]
ADDRESSES = [
    "192.0.2.77",
    "192.0.2.77:443",
    "2001:db8:1:2:3:4:5:6",
    "[2001:db8::1]:443",
    "fe80::1%eth0",
    "::1",
    "::ffff:192.0.2.7",
    "2002:c000:24d::1",
    "192.0.2.1, 2001:db8::1",
    "no address",
    "1.2.3",
    "256.1.1.1",
    "::",
    "64:ff9b::192.0.2.33",
    "2001:db8:0:0:1::1",
    "010.1.1.1",
    "1::2::3",
    "",
]
TEXTS = [
    "to <ann.b+c@mail.example.co.uk>, now",
    "?mail=ann%40example.org&x=1",
    "jürgen@exämple.org",
    "почта@пример.рф",
    '"ann b"@example.org',
    "a@b@c.example.org",
    "git@github.com:x/y",
    "root@localhost",
    "ann@[192.0.2.1]",
    "from 192.0.2.7:80.",
    "x192.0.2.7y",
    "256.1.1.1 1.1.1.999",
    "v1.2.3 1.2.3.4.5 1.3.6.1.4.1.311",
    "2001:db8::1: timed out",
    "client:2001:db8::1",
    "2001:db8:1:2:3:4:5:6:8080",
    "std::vector Foo::Bar x::~x",
    "12:30:45 2026-05-01T12:30:45.123Z",
    ":".join(["ab"] * 20),
    "64:ff9b::192.0.2.33.",
    "fe80::1%eth0 up",
    "a :: b",
    "1::2::3",
    "4111 1111 1111 1111",
    "378282246310005",
    "4111111111111112",
    "2026-05-01 4111111111111111",
    "order 12 4111 1111 1111 1111 7",
    "4111111111111111 378282246310005",
    "id 00004111111111111111111111",
    "%B4111111111111111^DOE",
    "card ٤١١١١١١١١١١١١١١١",
    "4111\u00a01111\u00a01111\u00a01111",
    "192.000.002.007",
]
FIELDS: dict[str, Any] = {
    "user": "ann",
    "password": "x",
    "ip": "192.0.2.77",
    "note": "write to ann@example.org",
    "card": 4111111111111111,
    "floats": [0.4111111111111111, 41.11111111111111, -4111111111111111.5, 4111111111111.111],
    "list": [1, {"token": "t", "kept": 2}, "b@c.de"],
    "deep": {"a": {"b": {"secret": "s", "c": 1}}, "card_no": "4111 1111 1111 1111"},
    "header.cookie": "c",
    "header": {"cookie": "d", "host": "h"},
    "x@y.org": 1,
    "empty": {},
    "none": None,
}
REDACTIONS: list[dict[str, Any]] = [
    {"drop": ["password"]},
    {"drop": ["*.token", "**.secret", "header"]},
    {"drop": ["**.card_*", "list.*.kept", "deep.a"]},
    {"drop": ["**.[st]*", "header.c?okie"]},
    {"drop": ["**.a.**.c", "*.[!h]*"]},
    {"keep": ["user", "deep.a.b", "header.host"]},
    {"keep": []},
    {"keep": ["**.kept", "header.*"]},
    {"pseudonymize": ["user", "list", "deep.a"], "key": KEY},
    {"cut_ip": ["ip", "user"]},
    {"mask": ["email", "credit_card"]},
    {"mask": ["email"], "mask_with": "<hidden>", "drop": ["deep"]},
    {"mask": ["a[a-z]n", "\\bcard\\b"], "keep": ["note", "user", "deep", "card"]},
]
PATHS = [
    "/",
    "/users/17/orders/3f2b1c9d-1111-2222-3333-444455556666",
    "/a/ann@example.org/b",
    "/deadbeef12",
    "/static/app.js",
    "/order-20381",
    "/v1/x",
    "/" + "a" * 50,
    "/" + "/".join("abcdefghijkl"),
    "/12.5,3",
    "/ab1",
    "/007",
    "/naïve/ünï",
    "//x//",
]
SETTINGS: list[dict[str, Any]] = [
    {"sender": "upd://127.0.0.1"},
    {"sender": {"name": "memory", "max_frmae": 1}},
    {"sender": {"name": "udp", "port": 0}},
    {"sender": "udp://127.0.0.1:5565?max_frame=32"},
    {"sender": "udp://127.0.0.1:5565?max_frame=99999"},
    {"sender": "udp://user:secret@127.0.0.1"},
    {"sender": "udp://127.0.0.1:x"},
    {"sender": "udp://127.0.0.1#part"},
    {"sender": "udp://127.0.0.1?part"},
    {"sender": "udp://127.0.0.1:x"},
    {"sender": "udp://127.0.0.1:99999"},
    {"sender": "udp://127.0.0.1?max_frame=1&part"},
    {"sender": {"host": "a"}},
    {"sender": "no name!"},
    {"sender": "file:"},
    {"sender": "unix:"},
    {"sender": "tcp://127.0.0.1?ca_file=a.pem"},
    {"sender": "tcp://127.0.0.1?timeout=0"},
    {"sender": {"name": "http", "token": "a\nb"}},
    {"sender": {"name": "http", "path": "submit"}},
    {"sender": {"name": "http", "compression": "brotli"}},
    {"sender": {"name": "tee", "senders": ["memory:", {"sender": "nul:", "fields": {}}]}},
    {"encoder": "jsn", "sender": "memory:"},
    {"encoder": {"name": "signed", "key": "short"}, "sender": "memory:"},
    {"encoder": {"name": "signed"}, "sender": "memory:"},
    {"filters": ["severity_max:?severity=9"], "sender": "memory:"},
    {"filters": [{"name": "sample"}, {"name": "sample", "rate": 2}], "sender": "memory:"},
    {"filters": [{"name": "sample", "rate": "often"}], "sender": "memory:"},
    {"filters": [{"name": "rate_limit", "rate": 1, "burst": 0}], "sender": "memory:"},
    {"filters": [{"name": "type_allow", "types": []}], "sender": "memory:"},
    {"filters": [{"name": "type_severity_max", "types": {"a": 8}}], "sender": "memory:"},
    {
        "filters": [
            {"name": "redact"},
            {"name": "redact", "pseudonymize": ["a"]},
            {"name": "redact", "drop": ["a"], "key": KEY},
        ],
        "sender": "memory:",
    },
    {"filters": [{"name": "redact", "drop": ["a..b"]}, {"name": "redact", "mask": ["x*"]}], "sender": "memory:"},
    {"filters": {"name": "sample"}, "sender": "memory:"},
    {"logger": 3, "buffer": {"flush_intervall": 1}, "sender": "memory:"},
    {"buffer": {"max_frame": 1}, "sender": "memory:"},
    {"buffer": {"max_frame": 70000}, "sender": "udp:"},
    {"buffer": {"flush_interval": "soon", "max_bytes": 1e3}, "sender": "memory:"},
    {"exit_timeout": -1, "sender": "memory:"},
    {"exit_timeout": "2h", "sender": "memory:"},
    {"exit_timeout": "soon", "sender": "memory:"},
    {"disabled_timers": ["a", 1], "sender": "memory:"},
    {"filters": [{"name": "type_severity_max", "types": {"a": 3, "b": [4]}}], "sender": "memory:"},
    {"fields": ["a"], "sender": "memory:"},
    {"sendr": "udp:"},
]


def one_number_type(value: Any) -> Any:
    """A decoded value with whole floats as integers: JavaScript has one type of number, and cannot tell them apart."""
    if isinstance(value, dict):
        return {key: one_number_type(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [one_number_type(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def frame_of(path: Path) -> bytes:
    data = path.read_bytes()
    return bytes.fromhex(re.sub(r"#.*", "", data.decode())) if path.suffix == ".hex" else data


def corpus() -> list[dict[str, str]]:
    """Every good frame, read and written again in both forms."""
    folder = ROOT / "tests" / "corpus"
    found = []
    for entry in json.loads((folder / "manifest.json").read_text("utf-8"))["frames"]:
        kind = entry["file"].partition("/")[0]
        if "bad" in entry or kind == "signed":
            continue
        reader: Any = JsonEncoder() if kind == "json" else MsgpackEncoder()
        events = reader.decode(frame_of(folder / entry["file"]))
        timed = all("timestamp" in event for event in entry["events"])
        for event in events:
            event.fields = one_number_type(event.fields)
            if not timed:
                event.timestamp = metlog.Event(type="a").timestamp.replace(
                    year=2026, month=1, day=1, hour=0, minute=0, second=0, microsecond=0
                )
        json_encoder, msgpack_encoder = JsonEncoder(), MsgpackEncoder()
        found.append(
            {
                "file": entry["file"],
                "timestamp": "" if timed else "2026-01-01T00:00:00Z",
                "json": json_encoder.frame([json_encoder.encode(event) for event in events]).decode(),
                "msgpack": msgpack_encoder.frame([msgpack_encoder.encode(event) for event in events]).hex(),
            }
        )
    return found


def through(filters: list[dict[str, Any]], fields: dict[str, Any], payload: str = "") -> Any:
    """Payload and fields of one event behind the filters."""
    client = metlog.MetlogClient.from_config("memory:", filters=filters)
    client.log("a", payload, fields=fields)
    client.flush()
    events = client.sender.events
    client.close()
    return {"payload": events[0].payload, "fields": events[0].fields} if events else None


def pseudonyms() -> list[Any]:
    spec = {"name": "redact", "pseudonymize": ["v"], "key": KEY}
    return [[value, through([spec], {"v": value})["fields"]["v"]] for value in VALUES]


def shares() -> list[Any]:
    """The number that decides, and that the filter `sample` of this client goes by it."""
    found = []
    for value in (value for value in VALUES if not isinstance(value, (list, dict))):
        digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
        share = int.from_bytes(digest) / 2**64
        kept = through([{"name": "sample", "field": "v", "rate": 0.5}], {"v": value}) is not None
        assert kept == (share < 0.5)
        found.append([value, digest.hex()])
    return found


def routes() -> list[list[str]]:
    found = []
    for path in PATHS:
        client = metlog.MetlogClient.from_config("memory:")

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return []

        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path.encode().decode("latin-1")}
        for _ in MetlogMiddleware(application, client=client)(environ, lambda status, headers: None):
            pass
        client.flush()
        found.append([path, client.sender.events[0].fields["route"]])
        client.close()
    return found


def problems() -> list[Any]:
    found = []
    for settings in SETTINGS:
        try:
            metlog.MetlogClient.from_config(dict(settings)).close()
        except metlog.ConfigError as error:
            found.append([settings, error.problems])
        else:
            raise AssertionError(f"these settings are right: {settings}")
    return found


def vectors() -> dict[str, Any]:
    """All of it."""
    return {
        "made_by": "tests/system/node/vectors.py",
        "key": KEY,
        "corpus": corpus(),
        "pseudonyms": pseudonyms(),
        "shares": shares(),
        "cut_ip": [
            [text, through([{"name": "redact", "cut_ip": ["v"]}], {"v": text})["fields"]["v"]] for text in ADDRESSES
        ],
        "masks": [
            [name, text, through([{"name": "redact", "mask": [name]}], {}, text)["payload"]]
            for name in ("email", "ipv4", "ipv6", "credit_card")
            for text in TEXTS
        ],
        "fields": FIELDS,
        "redact": [[options, through([{"name": "redact", **options}], FIELDS)["fields"]] for options in REDACTIONS],
        "routes": routes(),
        "problems": problems(),
    }


def text() -> str:
    """The file's text."""
    return json.dumps(vectors(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), "utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {TARGET.stat().st_size} bytes", file=sys.stderr)
