"""Node.js and the built client of clients/node; without Node.js and npm these tests are skipped."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.system.node.node_helpers import CLIENT, Node

SOURCES = [*CLIENT.glob("src/**/*.ts"), *CLIENT.glob("src/**/*.mts"), CLIENT / "package.json", CLIENT / "tsconfig.json"]


def _nodes() -> list[str]:
    """The machine's Node.js, and the newer ones that `clients/node/ci.sh` has fetched."""
    found = [shutil.which("node") or "", *map(str, sorted(CLIENT.glob(".nodes/*/node_modules/node/bin/node")))]
    return [path for path in found if path]


@pytest.fixture(scope="session")
def built_client() -> Path:
    """clients/node, compiled from the sources as they are now."""
    if not CLIENT.exists():
        pytest.skip("needs clients/node, which a source distribution of the Python package leaves out")
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
