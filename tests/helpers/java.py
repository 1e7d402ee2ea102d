"""Spark's Thrift server, Hive's driver and Hive's metastore, started out of the jars in the package pyspark."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from metlog.engines.base import Rows, Run, TranslatedEngine
from metlog.engines.dialects.hive import HIVE
from metlog.engines.dialects.translate import Sources
from metlog.lake.sql.guard import QueryError

_OPENS = [
    "java.lang", "java.net", "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.regex", "java.io", "java.nio",
    "java.time", "java.text", "java.math", "sun.nio.ch", "java.lang.invoke", "java.lang.reflect",
]  # fmt: skip
_STUBS = Path(__file__).parent / "hive_stubs"
_SITE = """<configuration>
<property><name>javax.jdo.option.ConnectionURL</name><value>jdbc:derby:;databaseName={0}/metastore;create=true</value></property>
<property><name>javax.jdo.option.ConnectionDriverName</name><value>org.apache.derby.iapi.jdbc.AutoloadedDriver</value></property>
<property><name>datanucleus.schema.autoCreateAll</name><value>true</value></property>
<property><name>hive.metastore.schema.verification</name><value>false</value></property>
<property><name>hive.metastore.warehouse.dir</name><value>{0}/warehouse</value></property>
<property><name>fs.defaultFS</name><value>file:///</value></property>
<property><name>mapreduce.framework.name</name><value>local</value></property>
<property><name>hive.exec.scratchdir</name><value>{0}/scratch</value></property>
<property><name>hive.exec.local.scratchdir</name><value>{0}/local</value></property>
<property><name>hive.async.log.enabled</name><value>false</value></property>
<property><name>hive.cbo.enable</name><value>false</value></property>
<property><name>datanucleus.connectionPoolingType</name><value>NONE</value></property>
</configuration>
"""


def pyspark_home() -> Path:
    """The package's folder; skips the test, with the reason, when it or Java is missing."""
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        pytest.skip("needs pyspark: pip install 'metlog[engines-test]'")
    if shutil.which("java") is None:
        pytest.skip("needs Java 17 (Debian: apt install openjdk-17-jre-headless)")
    if importlib.util.find_spec("pyhive") is None:
        pytest.skip("needs PyHive: pip install 'metlog[hive]'")
    return Path(found.origin).parent


def statements(text: str) -> list[str]:
    """The statements of what `metlog ddl` printed, without its comments."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [statement for statement in plain.split(";\n") if statement.strip()]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "TZ": "UTC"}


def _end(process: subprocess.Popen[Any]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _until_open(port: int, process: subprocess.Popen[Any], log: Path, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while True:
        assert process.poll() is None, log.read_text("utf-8", "replace")[-3000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < ends, f"no listener after {seconds:g} s: " + log.read_text("utf-8", "replace")[-3000:]
        time.sleep(0.2)


@contextmanager
def spark_server(folder: Path) -> Iterator[int]:
    """The port of a Thrift server of its own warehouse and metastore, in UTC on two cores."""
    home = pyspark_home()
    port, log = free_port(), folder / "spark.log"
    command = [
        str(home / "bin" / "spark-submit"), "--master", "local[2]", "--driver-memory", "2g",
        "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2",
        "--conf", "spark.ui.enabled=false", "--conf", f"spark.sql.warehouse.dir={folder}/warehouse",
        "--conf", "spark.sql.session.timeZone=Asia/Kathmandu",  # on purpose: each connection must set it to UTC
        "--conf", "spark.sql.shuffle.partitions=4", "--conf", f"spark.local.dir={folder}/local",
        "--conf", f"spark.hadoop.javax.jdo.option.ConnectionURL=jdbc:derby:;databaseName={folder}/metastore;create=true",
        "--hiveconf", f"hive.server2.thrift.port={port}", "--hiveconf", "hive.server2.thrift.bind.host=127.0.0.1", "spark-internal",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(home),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        _until_open(port, process, log, 180)
        yield port
    finally:
        _end(process)


def _stub_classes(folder: Path, home: Path) -> Path:
    """Three classes that Hive 2.3's driver looks for and that pyspark's jars lack: without them it hangs."""
    if shutil.which("javac") is None:
        pytest.skip("needs javac (Debian: apt install openjdk-17-jdk-headless)")
    sources = [str(path) for path in sorted(_STUBS.rglob("*.java"))]
    done = subprocess.run(
        ["javac", "-cp", f"{home}/jars/*", "-d", str(folder), *sources], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    return folder


class Hive:
    """Hive 2.3's own driver and metastore, with a configuration and a metastore of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = pyspark_home()
        (folder / "conf").mkdir()
        (folder / "conf" / "hive-site.xml").write_text(_SITE.format(folder), "utf-8")
        (folder / "classes").mkdir()
        self._classes = _stub_classes(folder / "classes", self.home)

    def command(self, *arguments: str) -> list[str]:
        opens = [word for name in _OPENS for word in ("--add-opens", f"java.base/{name}=ALL-UNNAMED")]
        classpath = f"{self.folder}/conf:{self._classes}:{self.home}/jars/*"
        return ["java", *opens, "-Xmx2g", "-Duser.timezone=UTC", "-cp", classpath, *arguments]

    def script(self, text: str, timeout: float = 900) -> str:
        """What the command-line driver prints for a file of statements."""
        file = self.folder / f"{time.monotonic_ns()}.hql"
        file.write_text(text, "utf-8")
        done = subprocess.run(
            self.command("org.apache.hadoop.hive.cli.CliDriver", "-S", "-f", str(file)),
            cwd=self.folder, env=_environment(self.home), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            raise QueryError(f"Hive: {_reason(done.stderr)}", "failed")
        return done.stdout

    @contextmanager
    def metastore(self) -> Iterator[int]:
        """The port of its metastore's Thrift service."""
        port, log = free_port(), self.folder / "metastore.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command("org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(port)),
                cwd=self.folder, env=_environment(self.home), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        try:
            _until_open(port, process, log, 120)
            yield port
        finally:
            _end(process)


def _reason(text: str) -> str:
    found = [line for line in text.splitlines() if line.startswith(("FAILED", "Error", "Exception"))]
    return "\n".join(found[:3]) or text[-1500:]


class HiveDriver(TranslatedEngine):
    """The engine `hive` with Hive's own driver in the place of HiveServer2, which cannot be had here: the same dialect, types and rules."""

    name = "hive"
    dialect = HIVE

    def __init__(self, hive: Hive, database: str = "metlog") -> None:
        super().__init__(Sources({"events": f"`{database}`.`events`"}))
        self._hive = hive

    @contextmanager
    def run(self, sql: str, run: Run) -> Iterator[Rows]:
        yield Rows([("?", pa.string())], [_table(self._hive.script(f"{sql};\n"))])

    def answers(self, statements: Sequence[str]) -> list[list[list[str | None]]]:
        """The rows of several statements, in one run of the driver."""
        text = "".join(f"!echo metlog-{number};\n{sql};\n" for number, sql in enumerate(statements))
        parts = re.split(r"^metlog-\d+$\n?", self._hive.script(text), flags=re.MULTILINE)[1:]
        return [_table(part) for part in parts]


def _table(text: str) -> list[list[str | None]]:
    return [[None if cell == "NULL" else cell for cell in line.split("\t")] for line in text.split("\n") if line]
