"""A Node.js that runs scripts with the built client, and a listener's addresses."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "clients" / "node"


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


class Listening(NamedTuple):
    """A listener that takes events."""

    data: Path
    udp: int
    http: int
