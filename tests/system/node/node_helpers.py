"""A Node.js that runs scripts with the built client."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

from tests.helpers.paths import ROOT

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
