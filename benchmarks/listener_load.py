"""Load on the real listener: `python benchmarks/listener_load.py --rate 200000 --seconds 60`.

Starts `python -m metlog listen` on a fresh data folder, sends events at a steady pace over real UDP on loopback from several
processes, waits until all is in the lake, stops the listener, and asks the Parquet files by SQL what arrived. Exit 1
when an event was lost or is there twice.

`--single`: one event a datagram. `--stop SECONDS`: after some seconds the lake's process is stopped (SIGSTOP) for
so long, then let go while the load goes on, until it has caught up. `--json`: for programs. All the while `/healthz` and
`/metrics` are asked, each over a new connection.

On a machine that others use too, the load average and the processor time of all others stand beside the figures, and root can put
the run before them: `setsid -w sh -c 'echo -20 >/proc/self/autogroup; exec python benchmarks/listener_load.py'` (`nice -n -20`
where /proc/sys/kernel/sched_autogroup_enabled is 0).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import duckdb
from load_generator import events_a_frame

HERE: Final = Path(__file__).resolve().parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Listener:
    """The process under test, with its outputs' processes."""

    def __init__(self, data: Path, settings: str) -> None:
        self.data = data
        config = data.with_suffix(".toml")
        config.write_text(settings)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "metlog", "listen", "--config", str(config), "--data", str(data),
             "--udp", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        ports: dict[str, int] = {}
        for line in self.process.stdout:
            if line.startswith("ready"):
                break
            scheme, _, port = line.removeprefix("listening on ").partition("://")
            ports[scheme] = int(port.rsplit(":", 1)[1])
        else:
            raise SystemExit("the listener did not start")
        self.port, self.http_port = ports["udp"], ports["http"]
        while not self.workers():
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """The outputs' processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = {int(pid) for pid in children.read_text().split()}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():  # each is started by a thread of its own
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        return sorted(found)

    def status(self) -> dict[str, Any]:
        try:
            return json.loads((self.data / "status.json").read_bytes())
        except FileNotFoundError:
            return {}

    def kernel_drops(self) -> int:
        """What the kernel dropped at the port, from its own table."""
        with open("/proc/net/udp", encoding="ascii") as table:
            next(table)
            rows = [line.split() for line in table]
        return sum(int(row[-1]) for row in rows if int(row[1].rsplit(":", 1)[1], 16) == self.port)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def busy_seconds() -> float:
    """Processor time that all of the machine has used."""
    user, nice, system, _, _, irq, softirq = (int(field) for field in Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def resident(pid: int) -> float:
    """MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Watch(threading.Thread):
    """Notes once in a while where the listener stands."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(daemon=True)
        self.listener = listener
        self.notes: list[dict[str, float]] = []
        self.done = threading.Event()

    def run(self) -> None:
        began = time.monotonic()
        while not self.done.wait(0.5):
            status = self.listener.status()
            if "lake" not in status.get("outputs", {}):
                continue
            workers = self.listener.workers()
            journaled = status["intake"]["journaled"]
            lake = status["outputs"]["lake"].get("events", 0)
            self.notes.append(
                {
                    "at": time.monotonic() - began,
                    "journaled": journaled,
                    "lake": lake,
                    "listener_mb": resident(self.listener.process.pid),
                    "lake_mb": max((resident(pid) for pid in workers), default=0.0),
                }
            )

    def memory(self, part: str) -> dict[str, int]:
        """Resident MB of a process: in the beginning, after a sixth of the time (everything has been in use by then), in the
        middle, at the end, and the most that was seen."""
        seen = [round(note[f"{part}_mb"]) for note in self.notes]
        last = len(seen) - 1
        return {
            "start": seen[min(2, last)], "sixth": seen[last // 6], "middle": seen[last // 2], "end": seen[last], "most": max(seen),
        }  # fmt: skip

    def behind(self) -> float:
        return self.notes[-1]["journaled"] - self.notes[-1]["lake"] if self.notes else 0.0


class Probe(threading.Thread):
    """Asks for `/healthz` and `/metrics` in turn, and notes how long the whole answer took."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.took: dict[str, list[float]] = {"/healthz": [], "/metrics": []}
        self.statuses: dict[int, int] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.25):
            for path, took in self.took.items():
                began = time.perf_counter()
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                connection.close()
                took.append((time.perf_counter() - began) * 1000)
                self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1

    def found(self) -> dict[str, Any]:
        milliseconds = {
            path: {
                "asked": len(took), "median": round(statistics.median(took), 1),
                "p99": round(sorted(took)[int(len(took) * 0.99)], 1), "most": round(max(took), 1),
            }
            for path, took in self.took.items() if took
        }  # fmt: skip
        return {**milliseconds, "statuses": self.statuses}


def generate(port: int, given: argparse.Namespace, seconds: float, prefix: str = "") -> list[subprocess.Popen[str]]:
    """`prefix`: what each datagram begins with."""
    per_frame = 1 if given.single else events_a_frame(given.frame)
    return [
        subprocess.Popen(
            [sys.executable, str(HERE / "load_generator.py"), "127.0.0.1", str(port),
             "--rate", str(given.rate / given.processes), "--seconds", str(seconds),
             "--per-frame", str(per_frame), "--streams", str(given.streams), "--seed", str(number), "--prefix", prefix],
            stdout=subprocess.PIPE, text=True,
        )
        for number in range(given.processes)
    ]  # fmt: skip


def stop_and_catch_up(listener: Listener, watch: Watch, given: argparse.Namespace) -> dict[str, float]:
    """Stops the lake for a while under load, lets it go, and waits until it is where it was."""
    deadline = time.monotonic() + 30
    while not (watch.notes and watch.notes[-1]["journaled"]) and time.monotonic() < deadline:
        time.sleep(0.05)  # until the generators have loaded what they need
    time.sleep(given.lead)
    usual = watch.behind() + given.rate * 0.5
    (worker,) = listener.workers()
    os.kill(worker, signal.SIGSTOP)
    time.sleep(given.stop)
    first = watch.notes[-1]
    os.kill(worker, signal.SIGCONT)
    began = time.monotonic()
    seen = len(watch.notes)
    # The first notes may still tell what was before.
    while len(watch.notes) < seen + 3 or (watch.behind() > usual and time.monotonic() - began < given.stop * 3):
        time.sleep(0.1)
    took = time.monotonic() - began
    last = watch.notes[-1]
    done = last["lake"] - first["lake"]
    return {
        "stopped_seconds": given.stop,
        "backlog_events": first["journaled"] - first["lake"],
        "seconds": took,
        "events_per_second": done / took,
        "factor": done / max(last["journaled"] - first["journaled"], 1),  # 0: the journal is full
        "caught_up": float(watch.behind() <= usual),
    }


def in_the_lake(data: Path) -> dict[str, Any]:
    """What stands in the Parquet files, asked of them directly; without the listener's own events, which tell what it dropped."""
    files = str(data / "events" / "*" / "*.parquet")
    rows = duckdb.sql(
        f"SELECT stream, count(*), count(DISTINCT seq), max(seq), any_value(fields->>'last_seq') FILTER (type = 'metlog.end')"
        f" FROM read_parquet('{files}') WHERE source <> 'listener://' GROUP BY stream"
    ).fetchall()
    sizes = [path.stat().st_size for path in (data / "events").glob("*/*.parquet")]
    return {
        "events": sum(row[1] for row in rows),
        "distinct": sum(row[2] for row in rows),
        "streams": {row[0]: row[3] for row in rows},
        "ended": sum(row[4] is not None for row in rows),
        "bytes": sum(sizes),
        "files": len(sizes),
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="metlog-load-", dir=given.folder))
    try:
        return _measure(given, folder)
    finally:
        if not given.keep:
            shutil.rmtree(folder)


def _measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    load_before = round(os.getloadavg()[0], 2)
    listener = Listener(folder / "data", given.settings)
    generators: list[subprocess.Popen[str]] = []
    try:
        watch = Watch(listener)
        watch.start()
        probe = Probe(listener.http_port)
        probe.start()
        seconds = given.seconds if not given.stop else given.lead + given.stop * 4
        _started(listener)
        cpu_before = {pid: cpu_seconds(pid) for pid in (listener.process.pid, *listener.workers())}
        busy_before = busy_seconds()
        began = time.monotonic()
        generators = generate(listener.port, given, seconds)
        catch_up = {}
        if given.stop:
            catch_up = stop_and_catch_up(listener, watch, given)
            for generator in generators:
                generator.send_signal(signal.SIGTERM)
        outcomes = [json.loads(generator.communicate()[0]) for generator in generators]
        sent_at = time.monotonic()
        sent = sum(outcome["events"] for outcome in outcomes)
        lag = watch.behind()
        for thread in (watch, probe):
            thread.done.set()
            thread.join()
        drops = listener.kernel_drops()
        _settle(listener)
        settled = time.monotonic() - sent_at
        cpu = {pid: cpu_seconds(pid) - before for pid, before in cpu_before.items()}
        busy, wall = busy_seconds() - busy_before, time.monotonic() - began
        status = listener.status()
    finally:
        for generator in generators:  # those that have ended are not there to be killed
            generator.kill()
        code = listener.stop()
    lake = in_the_lake(listener.data)
    streams = {stream: seq for outcome in outcomes for stream, seq in outcome["streams"].items()}
    took = max(outcome["seconds"] for outcome in outcomes)
    intake = status["intake"]
    made = sum(outcome["cpu"] for outcome in outcomes)
    in_lake = sum(value for pid, value in cpu.items() if pid != listener.process.pid)
    return {
        "mode": "one event a datagram" if given.single else f"frames of {given.frame} bytes",
        "rate_asked": given.rate,
        "seconds": round(took, 2),
        "events_per_second": round(sent / took),
        "datagrams_per_second": round(sum(outcome["frames"] for outcome in outcomes) / took),
        "bytes_per_event": round(sum(outcome["bytes"] for outcome in outcomes) / sent, 1),
        "sent": sent,
        "received_datagrams": status["inputs"]["udp"]["frames"],
        "journaled": intake["journaled"],
        "in_lake": lake["events"],
        "in_lake_distinct": lake["distinct"],
        "streams_complete": sum(lake["streams"].get(stream) == seq for stream, seq in streams.items()),
        "streams": len(streams),
        "lost": {
            "all": sent - lake["distinct"],
            "kernel_drops_datagrams": drops,
            "journal_full": intake["dropped_full"],
            "dead_letters": intake["dead"],
        },
        "twice": lake["events"] - lake["distinct"],
        "exit": code,
        "cpu_seconds": {
            "listener": round(cpu[listener.process.pid], 2),
            "lake": round(in_lake, 2),
            "generators": round(made, 2),
            "others": round(busy - sum(cpu.values()) - made, 2),
            "wall": round(wall, 2),
        },
        "cpu_us_an_event": {  # what is in no sealed segment yet has cost the lake nothing yet
            "listener": round(cpu[listener.process.pid] / max(intake["journaled"], 1) * 1e6, 2),
            "lake": round(in_lake / max(status["outputs"]["lake"].get("events", 0), 1) * 1e6, 2),
        },
        "load_average": {"before": load_before, "after": round(os.getloadavg()[0], 2)},
        "rss_mb": {part: watch.memory(part) for part in ("listener", "lake")},
        "answers_ms": probe.found(),
        "lag": {
            "events_at_end": lag,
            "seconds_at_end": round(lag / given.rate, 2),
            "seconds_until_settled": round(settled, 2),
            "generator_behind_most": round(max(outcome["behind"] for outcome in outcomes), 3),
        },
        "lake_files": lake["files"],
        "lake_bytes_per_event": round(lake["bytes"] / max(lake["events"], 1), 1),
        **({"catch_up": {key: round(value, 2) for key, value in catch_up.items()}} if catch_up else {}),
    }


def _started(listener: Listener, limit: float = 20.0) -> None:
    """Returns when the lake has loaded what it needs, which is no event's cost."""
    deadline = time.monotonic() + limit
    while "events" not in listener.status().get("outputs", {}).get("lake", {}) and time.monotonic() < deadline:
        time.sleep(0.05)


def _settle(listener: Listener, limit: float = 120.0) -> None:
    """Returns when every sealed segment is in the lake and nothing more arrives."""
    deadline = time.monotonic() + limit
    before = None
    while time.monotonic() < deadline:
        time.sleep(0.6)
        status = listener.status()
        at = status["outputs"]["lake"].get("at", [0])
        now = (status["intake"]["journaled"], at)
        if now == before and at[0] >= status["journal"]["end"][0]:
            return
        before = now


def show(found: dict[str, Any]) -> str:
    lines = []
    for key, value in found.items():
        text = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(
            f"{key.replace('_', ' '):<24} {text:,}" if isinstance(text, int) else f"{key.replace('_', ' '):<24} {text}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200_000, help="events a second, all processes together")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--frame", type=int, default=8192, help="bytes of a datagram, at most")
    parser.add_argument("--single", action="store_true", help="one event a datagram")
    parser.add_argument("--stop", type=float, default=0, metavar="SECONDS", help="stop the lake's process for so long")
    parser.add_argument("--lead", type=float, default=10, metavar="SECONDS", help="load before that")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--streams", type=int, default=4, help="clients a process")
    parser.add_argument("--settings", default="", help="TOML for the listener, beside its defaults")
    parser.add_argument("--folder", default=None, help="where the data folder is made (and removed)")
    parser.add_argument("--keep", action="store_true", help="leave the data folder there")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given)
    print(json.dumps(found) if given.json else show(found))
    return int(bool(found["lost"]["all"] or found["twice"] or found["exit"]))


if __name__ == "__main__":
    sys.exit(main())
