"""An output that takes batches needs little memory, whatever stands in the journal, and finds the event that is too much for it."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from metlog.journal.segment import Clock, encode_record, header
from tests.helpers.paths import ROOT

pytestmark = [pytest.mark.process, pytest.mark.slow]

EVENT = b'{"type":"a","fields":{"a":[' + b"[]," * 60_000 + b"[]]}}\n"
"""180 KB that are some 4 MB as Python objects."""


def limited(code: str, limit: int, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=120, cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_records_of_small_pieces_are_handed_on_in_little_memory(tmp_path: Path) -> None:
    """23 MB of empty arrays, 3 MB a record: decoded at once a record is 70 MB, all of them half a gigabyte."""
    folder = tmp_path / "journal"
    folder.mkdir()
    records = b"".join(encode_record(1_790_000_000_000_000, 16, b"udp://10.0.0.1", b"", EVENT * 16) for _ in range(8))
    (folder / "000000000001-0123456789abcdef.seg").write_bytes(header(Clock()) + records)
    code = """
        import sys
        from pathlib import Path
        import msgspec
        from metlog.journal.cursor import Position
        from metlog.journal.folder import Folder
        from metlog.journal.routing import Route
        from metlog.listener.deadletters import DeadLetters
        from metlog.listener.delivery.batches import Limits, run_batches
        from metlog.listener.outputs import BaseOutput
        from metlog.listener.outputs.context import Context
        class Output(BaseOutput):
            events = 0
            def write(self, batch):
                self.events += len(batch.deliveries)
                msgspec.json.encode([delivery.event for delivery in batch.deliveries])
        def peak():
            return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024
        root = Folder.root(Path(sys.argv[1]))
        dead, cursors = root.sub("dead", create=True), root.sub("cursors", create=True)
        context = Context("out", Route(), root, root.sub("journal"), cursors, DeadLetters(dead, "x"), lambda facts: None)
        context.advance(Position(2)); context.drain()
        output, before = Output(), peak()
        run_batches(output, context, Limits(batch_events=5000))
        assert output.events == 128, output.events
        print(peak() - before)
        """
    assert int(limited(code, 400 << 20, str(tmp_path))) < 120, "MB"


def test_the_event_that_ends_an_output_is_found_by_trying() -> None:
    code = """
        from metlog.journal.segment import Record
        from metlog.lake.careful import fatal
        deadly = b'{"type":"deadly","fields":{"a":[' + b"[]," * 6_000_000 + b"[]]}}\\n"
        good = b'{"type":"good","payload":"%s"}\\n' % (b"x" * 9000)
        records = [Record(0, 0, 1, 1, "s", "", line) for line in (good, deadly, good)]
        assert list(fatal(records, 1 << 20, columns=False)) == [1]
        """
    limited(code, 300 << 20)
