"""A NameNode and a DataNode out of the jars of the package pyspark 2.4.8: Hadoop 2.7.3, one node, on the loopback.

`make hadoop` fetches the jars and names their folder in METLOG_TEST_HADOOP.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.system.cluster.servers import free_ports, poll, process

_OPENS = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.util", "java.nio", "sun.nio.ch", "java.io", "java.net", "sun.security.action")
]
_NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
_DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"


def missing() -> str:
    """Why there is no Hadoop here; the empty text when there is."""
    if shutil.which("java") is None:
        return "needs Java 17: apt-get install openjdk-17-jre-headless"
    jars = os.environ.get("METLOG_TEST_HADOOP", "")
    if not jars or not any(Path(jars).glob("hadoop-hdfs-*.jar")):
        return "needs Hadoop's jars in METLOG_TEST_HADOOP: make hadoop"
    return ""


def _site(folder: Path, name: str, settings: dict[str, str]) -> None:
    lines = "".join(f"<property><name>{key}</name><value>{value}</value></property>" for key, value in settings.items())
    (folder / f"{name}.xml").write_text(f"<configuration>{lines}</configuration>")


@contextlib.contextmanager
def hdfs(folder: Path) -> Iterator[str]:
    """A running HDFS; gives `hdfs://HOST:PORT`."""
    name, web, data, ipc, data_web = free_ports(5)
    conf = folder / "conf"
    for webapp in ("hdfs", "datanode", "static"):
        (folder / "extra" / "webapps" / webapp).mkdir(parents=True)
    conf.mkdir()
    _site(conf, "core-site", {"fs.defaultFS": f"hdfs://127.0.0.1:{name}", "hadoop.tmp.dir": str(folder / "tmp")})
    _site(conf, "hdfs-site", {
        "dfs.namenode.http-address": f"127.0.0.1:{web}", "dfs.datanode.address": f"127.0.0.1:{data}",
        "dfs.datanode.ipc.address": f"127.0.0.1:{ipc}", "dfs.datanode.http.address": f"127.0.0.1:{data_web}",
        "dfs.webhdfs.enabled": "false", "dfs.replication": "1", "dfs.permissions.enabled": "false",
    })  # fmt: skip
    jars = os.environ["METLOG_TEST_HADOOP"]
    java = [
        "java", *_OPENS, "--add-exports=java.base/sun.net.util=ALL-UNNAMED", "-Djava.net.preferIPv4Stack=true", "-Xmx512m", "-cp",
        f"{conf}:{folder / 'extra'}:{jars}/*",
    ]  # fmt: skip
    format_log = folder / "format.log"
    with format_log.open("wb") as log:
        done = subprocess.run(
            [*java, _NAMENODE, "-format", "-nonInteractive"], stdout=log, stderr=log, timeout=120, check=False
        )
    assert done.returncode == 0, format_log.read_text()[-2000:]
    with contextlib.ExitStack() as stack:
        namenode = stack.enter_context(process(*java, _NAMENODE, log=folder / "namenode.log"))
        datanode = stack.enter_context(process(*java, _DATANODE, log=folder / "datanode.log"))

        def up() -> bool:
            for child, log in ((namenode, "namenode.log"), (datanode, "datanode.log")):
                assert child.poll() is None, (folder / log).read_text()[-2000:]
            return _takes_a_file(f"hdfs://127.0.0.1:{name}")

        poll(up, 180, "HDFS takes a file", every=1.0)
        yield f"hdfs://127.0.0.1:{name}"


def _takes_a_file(address: str) -> bool:
    from hdfs_native import Client, WriteOptions

    try:
        client = Client(address)
        with client.create("/ready", WriteOptions(overwrite=True, create_parent=True)) as file:
            file.write(b"1")
    except Exception:  # not up yet, in one of many ways
        return False
    return True
