"""Packages that a process does without."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from metlog.plugins.absent import UNUSED_BY_ARROW, leave_out
leave_out(UNUSED_BY_ARROW)
from datetime import UTC, datetime
import pyarrow as pa
now = datetime(2026, 11, 29, tzinfo=UTC)
assert pa.array([now], pa.timestamp("us", tz="UTC"))[0].as_py() == now  # asks whether there is pandas
assert pa.chunked_array([pa.array([1.5, None])]).to_pylist() == [1.5, None]
assert not {"numpy", "pandas"} & set(sys.modules)
for name in UNUSED_BY_ARROW:
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        print(error.name)
"""


@pytest.mark.process
def test_arrow_works_without_what_is_left_out() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "numpy\npandas\n"), done.stderr
