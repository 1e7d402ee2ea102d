"""Whether the journal may take more, on a disk that does not even say how full it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.segment import Clock, encode_record
from metlog.journal.writer import Journal, JournalOptions
from tests.helpers.waiting import wait_for

RECORD = encode_record(0, 1, b"test://", b"", b'{"type":"a"}\n')


def stale(_: int) -> os.statvfs_result:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_a_disk_that_does_not_say_how_full_it_is_refuses_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Folder.root(tmp_path) as folder:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstatvfs", stale)
            journal = Journal(folder, JournalOptions(min_free=0), Clock())
            assert journal.refuses == "its disk fails (Stale file handle)"
            with pytest.raises(Full, match="Stale file handle"):
                journal.append(RECORD)
        wait_for(lambda: not journal.refuses)
        journal.wait(journal.append(RECORD))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstatvfs", stale)
            journal._capacity.configure(1 << 30, 0)  # so that the next write looks again
            with pytest.raises(Full, match="Stale file handle"):
                journal.append(RECORD)
        wait_for(lambda: not journal.refuses)
        journal.wait(journal.append(RECORD))
        journal.close()
        journal.release()
