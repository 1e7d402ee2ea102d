"""Arrow and DuckDB are loaded by the process that writes Parquet, and by no other of a listener."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

CONFIG = """
[listener]
data = "{folder}/data"
[journal]
segment_age = 0.2
[[inputs]]
name = "udp"
port = 0
[[inputs]]
name = "http"
port = 0
[[outputs]]
name = "lake"
[[outputs]]
name = "file"
path = "{folder}/out.ndjson"
batch_age = 0.02
[[outputs]]
name = "statsd"
port = 9
"""


def loaded(pid: int) -> set[str]:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in ("libarrow", "duckdb") if name in maps}


def children(pid: int) -> set[int]:
    """Each thread has a list of those that it started."""
    lists = [path / "children" for path in Path(f"/proc/{pid}/task").iterdir()]
    return {int(child) for path in lists for child in path.read_text().split()}


def test_only_the_lakes_process_loads_arrow(tmp_path: Path) -> None:
    config = tmp_path / "listener.toml"
    config.write_text(CONFIG.format(folder=tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "metlog", "listen", "--config", str(config)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = [process.stdout.readline().split()[-1] for _ in range(2)][1]
        assert process.stdout.readline().startswith("ready")
        send = [sys.executable, "-m", "metlog", "send", "--to", f"{address}/submit/x", "hello"]
        subprocess.run(send, check=True, capture_output=True)
        for _ in range(600):
            outputs = children(process.pid)
            having = [pid for pid in outputs if loaded(pid)]
            if having and (tmp_path / "out.ndjson").exists() and (tmp_path / "out.ndjson").stat().st_size:
                break
            time.sleep(0.05)
        assert len(outputs) == 3
        assert len(having) == 1
        assert loaded(process.pid) == set()
        assert "duckdb" not in loaded(having[0])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
