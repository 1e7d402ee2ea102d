"""A journal is as large in one command as in the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metlog.cli import main
from tests.helpers.webdata import Journal


def said(command: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main([*command, "--data", str(data)])
    return capsys.readouterr().out


def test_two_commands_tell_the_same_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path)
    journal.append({"type": "x", "payload": "y" * 1_500_000})
    segment = re.search(r"segment \d+ is written, (.+ MB),", said(["status"], tmp_path, capsys))
    held = re.search(r"holds +(.+ MB) in", said(["journal", "status"], tmp_path, capsys))
    assert segment is not None
    assert held is not None
    assert segment[1] == held[1] == "1.5 MB"
