"""What a query over a long journal takes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metlog.journal.segment import Clock, encode_record, header
from metlog.lake.engine.client import _ALLOCATORS
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow]

SMALL = b'{"timestamp":"2026-09-21T01:02:03Z","type":"request","tokens":["request"],"logger":"shop","fields":{"ms":12.5},"seq":12}\n'
ARRAYS = b'{"type":"a","fields":{"a":[' + b"[]," * 60_000 + b"[]]}}\n"


@pytest.mark.parametrize("event", [SMALL, ARRAYS], ids=["small events", "events of many pieces"])
def test_a_query_over_85_mb_of_journal_takes_less_than_350_mb(tmp_path: Path, event: bytes) -> None:
    folder = tmp_path / "journal" / "main"
    folder.mkdir(parents=True)
    count = 3_000_000 // len(event)
    record = encode_record(1_790_000_000_000_000, count, b"udp://10.0.0.1", b"", event * count)
    for number in (1, 2):
        (folder / f"{number:012}-0123456789abcdef.seg").write_bytes(header(Clock()) + record * 14)
    code = """
        import sys
        from metlog.lake.query import Lake
        with Lake(sys.argv[1]) as lake:
            ((_, number),) = lake.query("SELECT type, count(*) FROM events GROUP BY type").rows
        # ru_maxrss would be that of the process which started this one, where it is larger
        peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(number, int(peak.split()[1]) // 1024)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, timeout=300, cwd=ROOT, env={**os.environ, **_ALLOCATORS},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    number, peak = map(int, done.stdout.split())
    assert number == 28 * count
    assert peak < 350, "MB"
