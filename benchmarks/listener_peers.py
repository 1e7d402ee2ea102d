"""The listener beside rsyslog and syslog-ng: `python benchmarks/listener_peers.py --rate 50000 --seconds 20`.

Each takes the same events, one a datagram, over real UDP on loopback, parses them as JSON and writes what it parsed: metlog to its
journal and to Parquet, rsyslog (imudp, mmjsonparse, omfile) and syslog-ng (network, json-parser, file) to a file of JSON lines. All take
turns for some rounds. Said of each: processor time an event (user and system, all its processes), and what share of the events is not
in the end where it should be, asked of the files. The daemons get the events behind a header of RFC 5424, without which rsyslog takes
none, and ask for a receive buffer as large as metlog's.

A daemon that is not on the PATH is left out. `METLOG_SYSLOG_NG`: a command line for syslog-ng in place of the one on the PATH, for one
that was only unpacked.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from listener_load import cpu_seconds, generate, measure, resident

_HEADER: Final = "<14>1 - - - - - - "
_BUFFER: Final = 64 << 20
"""Bytes of the receive buffer, as metlog's own."""

_RSYSLOG: Final = """
module(load="imudp" batchSize="128")
module(load="mmjsonparse")
global(workDirectory="{folder}" maxMessageSize="64k")
template(name="json" type="list") {{ property(name="$!all-json-plain") constant(value="\\n") }}
ruleset(name="events" queue.type="FixedArray" queue.size="500000" queue.dequeueBatchSize="1024") {{
    action(type="mmjsonparse" cookie="")
    if $parsesuccess == "OK" then {{
        action(type="omfile" file="{out}" template="json" ioBufferSize="256k" flushOnTXEnd="off")
    }}
}}
input(type="imudp" address="127.0.0.1" port="{port}" rcvbufSize="{buffer}" ruleset="events")
"""

_SYSLOG_NG: Final = """
@version: 3.38
options {{ stats-freq(0); log-msg-size(65536); }};
source events {{ network(transport("udp") ip("127.0.0.1") port({port}) so-rcvbuf({buffer}) log-iw-size(100000) flags(syslog-protocol)); }};
parser json {{ json-parser(prefix(".json.")); }};
destination out {{ file("{out}" template("$(format-json --subkeys .json.)\\n") log-fifo-size(500000) flush-lines(1000)); }};
log {{ source(events); parser(json); destination(out); }};
"""


class _Numbered(msgspec.Struct, gc=False):
    """What is asked of a line that a daemon wrote. syslog-ng writes a number as a text."""

    stream: str
    seq: int | str


def _rsyslog(folder: Path, port: int, out: Path) -> list[str] | None:
    binary = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if binary is None:
        return None
    config = folder / "rsyslog.conf"
    config.write_text(_RSYSLOG.format(folder=folder, out=out, port=port, buffer=_BUFFER))
    return [binary, "-n", "-f", str(config), "-i", str(folder / "rsyslog.pid")]


def _syslog_ng(folder: Path, port: int, out: Path) -> list[str] | None:
    given = os.environ.get("METLOG_SYSLOG_NG")
    binary = shutil.which("syslog-ng", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not given and binary is None:
        return None
    config = folder / "syslog-ng.conf"
    config.write_text(_SYSLOG_NG.format(out=out, port=port, buffer=_BUFFER))
    return [
        *(shlex.split(given) if given else [str(binary)]), "-F", "--no-caps", "-f", str(config),
        "-R", str(folder / "persist"), "-c", str(folder / "control"), "--pidfile", str(folder / "pid"),
    ]  # fmt: skip


DAEMONS: Final[dict[str, Callable[[Path, int, Path], list[str] | None]]] = {
    "rsyslog, mmjsonparse, to a file": _rsyslog,
    "syslog-ng, json-parser, to a file": _syslog_ng,
}


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _udp_row(port: int) -> list[str] | None:
    """The kernel's row of a port that is bound."""
    with open("/proc/net/udp", encoding="ascii") as table:
        next(table)
        rows = [line.split() for line in table]
    return next((row for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port), None)


def _wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(what)
        time.sleep(0.05)


def run_daemon(name: str, given: argparse.Namespace, folder: Path) -> dict[str, Any] | None:
    """Sends the events to a daemon. None where it is not installed."""
    port, out = _free_port(), folder / "out.json"
    command = DAEMONS[name](folder, port, out)
    if command is None:
        return None
    log = folder / "log"
    with log.open("wb") as told:
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT)
    try:
        _wait(
            lambda: process.poll() is not None or _udp_row(port) is not None, 15, f"{name} does not listen: {log.read_text()[-500:]}"
        )  # fmt: skip
        if process.poll() is not None:
            raise SystemExit(f"{name} ended: {log.read_text()[-500:]}")
        before = cpu_seconds(process.pid)
        outcomes = [
            json.loads(generator.communicate()[0]) for generator in generate(port, given, given.seconds, _HEADER)
        ]
        sizes: list[int] = []

        def settled() -> bool:
            sizes.append(out.stat().st_size if out.exists() else 0)
            row = _udp_row(port)
            queued = int(row[4].rsplit(":", 1)[1], 16) if row else 0
            return queued == 0 and len(sizes) > 20 and sizes[-1] == sizes[-20]

        _wait(settled, 120, f"{name} does not come to an end")
        row = _udp_row(port)
        most, took = resident(process.pid), cpu_seconds(process.pid) - before
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    sent = {stream: seq for outcome in outcomes for stream, seq in outcome["streams"].items()}
    written = _written(out)
    found = sum(len(written.get(stream, ())) for stream in sent)
    count = sum(sent.values())
    return {
        "cpu_us": took / count * 1e6,
        "lost_percent": 100 * (count - found) / count,
        "kernel_drops": int(row[-1]) if row else 0,
        "rss_mb": round(most),
        "sent": count,
    }


def _written(path: Path) -> dict[str, set[int]]:
    """The numbers of each stream that stand in a file."""
    found: dict[str, set[int]] = {}
    decode = msgspec.json.Decoder(_Numbered).decode
    with path.open("rb") as lines:
        for line in lines:
            try:
                event = decode(line)
            except msgspec.MsgspecError:  # half a line, where the daemon was ended
                continue
            found.setdefault(event.stream, set()).add(int(event.seq))
    return found


def run_metlog(given: argparse.Namespace) -> dict[str, Any]:
    found = measure(given)
    sent = found["sent"]
    return {
        "cpu_us": sum(found["cpu_us_an_event"].values()),
        "lost_percent": 100 * found["lost"]["all"] / sent,
        "kernel_drops": found["lost"]["kernel_drops_datagrams"],
        "rss_mb": found["rss_mb"]["listener"]["most"] + found["rss_mb"]["lake"]["most"],
        "sent": sent,
    }


def compare(given: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Of each peer that is installed what every round found."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(given.rounds):
        for name in ("metlog, to journal and Parquet", *DAEMONS):
            folder = Path(tempfile.mkdtemp(prefix="metlog-peers-", dir=given.folder))
            try:
                one = run_daemon(name, given, folder) if name in DAEMONS else run_metlog(given)
            finally:
                shutil.rmtree(folder)
            if one is not None:
                found.setdefault(name, []).append(one)
    return found


def show(found: dict[str, list[dict[str, Any]]]) -> str:
    lines = [f"{'one event a datagram':<36}{'CPU µs/event':>14}{'lost %':>9}{'MB':>6}"]
    for name, rounds in found.items():
        cpu, lost, size = (
            statistics.median(one[key] for one in rounds) for key in ("cpu_us", "lost_percent", "rss_mb")
        )
        lines.append(f"{name:<36}{cpu:>14.2f}{lost:>9.2f}{size:>6.0f}")
    lines += [f"{name}: not installed" for name in DAEMONS if name not in found]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50_000, help="events a second, all processes together")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--streams", type=int, default=4, help="clients a process")
    parser.add_argument("--settings", default="", help="TOML for metlog's listener, beside its defaults")
    parser.add_argument("--folder", default=None, help="where files are made (and removed)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    given.single, given.frame, given.stop, given.lead, given.keep = True, 8192, 0.0, 0.0, False
    found = compare(given)
    print(json.dumps(found) if given.json else show(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
