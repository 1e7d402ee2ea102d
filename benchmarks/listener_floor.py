"""What the way from a UDP socket to Parquet costs in CPython at least: `python benchmarks/listener_floor.py --rate 200000 --seconds 12`.

Two processes do what a listener and its lake cannot leave out, with the same libraries, and nothing else: one receives, has msgspec check
each event, and appends the bytes to a file; one reads such files, decodes them, and writes Arrow's columns as Parquet. No checksums, no
counting, no limits, no dead letters, nothing exactly once; `fields` are not looked into. The load is that of `listener_load.py`, whose
figures have these as their lower bound. `--promote`: with columns for the names in `fields`.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from listener_load import cpu_seconds, generate

_SEGMENT: Final = 16 << 20
_ROWS: Final = 3000
"""Events that are decoded at once."""
_GROUP: Final = 20
"""So many of these are a row group."""
_CHUNK: Final = 96 << 10
_TURN: Final = 0.01
_SO_RCVBUFFORCE: Final = 33


class Line(msgspec.Struct, gc=False):
    """An event without the members that all events of a client end in, with `fields` as they were written."""

    timestamp: str
    type: str
    tokens: tuple[str, ...]
    severity: int
    payload: str
    fields: msgspec.Raw
    seq: int


class Promoted(msgspec.Struct, gc=False):
    """What gets columns."""

    user: Any = None
    route: Any = None
    ms: Any = None
    id: Any = None


_decode: Final = msgspec.json.Decoder(Line).decode_lines
_decode_promoted: Final = msgspec.json.Decoder(Promoted).decode_lines
_encode_lines: Final = msgspec.json.Encoder().encode_lines


def receive(folder: Path) -> None:
    """Takes datagrams, checks them and appends them, until its input ends."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    print(sock.getsockname()[1], flush=True)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    number = size = 0
    file = os.open(folder / "open", os.O_WRONLY | os.O_CREAT, 0o600)
    synced = time.monotonic()
    ended = False
    while not ended:
        ended = any(descriptor == sys.stdin.fileno() for descriptor, _ in poll.poll())
        frames = []
        try:
            while True:
                frames.append(sock.recv(65_535))
        except BlockingIOError:
            pass
        start = taken = 0
        for index, frame in enumerate(frames, 1):
            taken += len(frame)
            if taken >= _CHUNK or index == len(frames):
                data = b"".join(frames[start:index])
                _decode(data)
                size += os.write(file, data)
                start, taken = index, 0
        now = time.monotonic()
        if now - synced > 0.05:
            os.fdatasync(file)
            synced = now
        if size >= _SEGMENT or (ended and size):
            os.close(file)
            number += 1
            (folder / "open").rename(folder / f"{number:06d}")
            file = os.open(folder / "open", os.O_WRONLY | os.O_CREAT, 0o600)
            size = 0
        time.sleep(_TURN)
    (folder / "end").touch()


def write(folder: Path, promote: bool) -> None:
    """Writes a Parquet file of each file, until there will be no more."""
    print("started", flush=True)
    for name in ("numpy", "pandas"):  # as in the listener: they cost memory alone
        sys.modules[name] = None  # type: ignore[assignment]
    import gc

    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.compute import split_pattern as split

    def table(lines: bytes) -> pa.Table:
        rows = _decode(lines)
        fields = _encode_lines([row.fields for row in rows])
        columns = {
            "timestamp": pa.array([row.timestamp for row in rows], pa.string()).cast(pa.timestamp("us", tz="UTC")),
            "type": pa.array([row.type for row in rows], pa.string()),
            "tokens": pa.array([row.tokens for row in rows], pa.list_(pa.string())),
            "severity": pa.array([row.severity for row in rows], pa.int8()),
            "payload": pa.array([row.payload for row in rows], pa.string()),
            "fields": pa.array([fields[:-1]], pa.binary()).cast(pa.string()),
            "seq": pa.array([row.seq for row in rows], pa.int64()),
        }
        columns["fields"] = split(columns["fields"], "\n").values
        if promote:
            found = _decode_promoted(fields)
            columns["user"] = pa.array([row.user for row in found], pa.string())
            columns["route"] = pa.array([row.route for row in found], pa.string())
            columns["ms"] = pa.array([row.ms for row in found], pa.float64())
            columns["id"] = pa.array([row.id for row in found], pa.string())
        return pa.table(columns)

    gc.disable()
    while True:
        ended = (folder / "end").exists()
        names = sorted(path for path in folder.iterdir() if path.name.isdecimal())
        for path in names:
            writer: pq.ParquetWriter | None = None
            waiting: list[pa.Table] = []
            with path.open("rb") as file:
                while chunk := file.readlines(_ROWS * 290):
                    waiting.append(table(b"".join(chunk)))
                    if len(waiting) < _GROUP:
                        continue
                    writer = writer or _writer(pq, path, waiting[0].schema)
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer = writer or _writer(pq, path, waiting[0].schema)
                writer.write_table(pa.concat_tables(waiting))
            assert writer is not None
            writer.close()
            path.unlink()
        if ended and not names:
            return
        time.sleep(0.05)


def _writer(pq: Any, path: Path, schema: Any) -> Any:
    often = [
        name
        for name in ("type", "tokens.list.element", "severity", "payload", "route", "ms")
        if name.split(".")[0] in schema.names
    ]
    least = ["timestamp", "type", "severity", "seq"]
    return pq.ParquetWriter(
        path.with_suffix(".parquet"),
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=often,
        write_statistics=least,
    )


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    part = [sys.executable, __file__, "--folder", str(folder), *(["--promote"] if given.promote else [])]
    writer = subprocess.Popen([*part, "--part", "write"], stdout=subprocess.PIPE, text=True)
    receiver = subprocess.Popen([*part, "--part", "receive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    assert receiver.stdin is not None
    assert writer.stdout is not None
    port = int(receiver.stdout.readline())
    writer.stdout.readline()
    before = {process.pid: cpu_seconds(process.pid) for process in (receiver, writer)}
    generators = generate(port, given, given.seconds)
    sent = sum(json.loads(generator.communicate()[0])["events"] for generator in generators)
    time.sleep(0.2)
    cpu = {}
    receiver.stdin.close()
    for process in (receiver, writer):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        cpu[process.pid] = used.ru_utime + used.ru_stime - before[process.pid]
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(path).metadata for path in folder.glob("*.parquet")]
    kept = sum(file.num_rows for file in files)
    return {
        "sent": sent,
        "lost": sent - kept,
        "receiver": round(cpu[receiver.pid] / sent * 1e6, 2),
        "writer": round(cpu[writer.pid] / sent * 1e6, 2),
        "both": round(sum(cpu.values()) / sent * 1e6, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200_000, help="events a second, all processes together")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--frame", type=int, default=8192, help="bytes of a datagram, at most")
    parser.add_argument("--single", action="store_true", help="one event a datagram")
    parser.add_argument("--promote", action="store_true", help="with columns for the names in `fields`")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--streams", type=int, default=4, help="clients a process")
    parser.add_argument("--folder", default=None, help="where the files are made (and removed)")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "receive":
        receive(Path(given.folder))
    elif given.part == "write":
        write(Path(given.folder), given.promote)
    else:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            print(json.dumps(measure(given, Path(folder))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
