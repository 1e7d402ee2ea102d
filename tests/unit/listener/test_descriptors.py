"""Connections leave descriptors for the journal and the outputs, or the listener does not start."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

CODE = """
import resource, sys
from metlog.listener.descriptors import RESERVE, provide
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(bool(provide(wanted)), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "told"),
    [
        (1024, 1024, 512, "False 1024"),
        (256, 4096, 512, "False 640"),
        (256, 512, 512, "True 512"),
        (64, 100, 1, "True 100"),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes_and_what_lacks_is_told(
    soft: int, hard: int, connections: int, told: str
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", CODE, str(soft), str(hard), str(connections)], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == told
