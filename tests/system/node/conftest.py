"""Node.js, the built client of clients/node, and a listener as a process; without Node.js and npm these tests are skipped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "clients" / "node"
SOURCES = [*CLIENT.glob("src/**/*.ts"), *CLIENT.glob("src/**/*.mts"), CLIENT / "package.json", CLIENT / "tsconfig.json"]


class Node(NamedTuple):
    """One Node.js."""

    path: str

    def run(self, script: str, *arguments: str, timeout: float = 100) -> str:
        """What a script printed; it may import `metlog`."""
        done = subprocess.run(
            [self.path, "--input-type=module", "--eval", script, "--", *arguments],
            cwd=CLIENT, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _nodes() -> list[str]:
    """The machine's Node.js, and the newer ones that `clients/node/ci.sh` has fetched."""
    found = [shutil.which("node") or "", *map(str, sorted(CLIENT.glob(".nodes/*/node_modules/node/bin/node")))]
    return [path for path in found if path]


@pytest.fixture(scope="session")
def built_client() -> Path:
    """clients/node, compiled from the sources as they are now."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js 20 or later and npm: apt-get install nodejs npm")
    with (Path(tempfile.gettempdir()) / f"metlog-node-{os.getuid()}.lock").open("w") as lock:  # several pytest workers
        fcntl.flock(lock, fcntl.LOCK_EX)
        target = CLIENT / "dist" / "index.js"
        if not target.exists() or target.stat().st_mtime < max(path.stat().st_mtime for path in SOURCES):
            done = subprocess.run(
                ["bash", str(CLIENT / "ci.sh"), "build"], capture_output=True, text=True, timeout=600, check=False
            )
            if done.returncode != 0 and not (CLIENT / "node_modules" / ".bin" / "tsc").exists():
                pytest.skip(
                    f"npm could not install TypeScript; clients/node/ci.sh build says: {done.stderr.strip()[-300:]}"
                )
            assert done.returncode == 0, done.stdout + done.stderr
    return CLIENT


@pytest.fixture(params=_nodes() or ["node"], ids=lambda path: "newer" if ".nodes" in path else "installed")
def node(request: pytest.FixtureRequest, built_client: Path) -> Node:
    """Each Node.js there is."""
    assert built_client.exists()
    return Node(request.param)


class Listening(NamedTuple):
    """A listener that takes events."""

    data: Path
    udp: int
    http: int


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listening]:
    """`metlog listen` with UDP and HTTP."""
    data = tmp_path / "data"
    command = [
        sys.executable,
        "-m",
        "metlog",
        "listen",
        "--data",
        str(data),
        "--udp",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, contextlib.ExitStack() as stack:
        stack.callback(process.terminate)
        assert process.stdout is not None
        ports: dict[str, int] = {}
        for line in process.stdout:
            if line.startswith("ready"):
                break
            scheme, _, rest = line.removeprefix("listening on ").partition("://")
            ports[scheme] = int(rest.strip().rpartition(":")[2].partition("/")[0])
        yield Listening(data, ports["udp"], ports["http"])
