"""The parameters of a report in the help of the command, and what the Tab key offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from metlog.cli import main
from tests.helpers.reportdata import EVENTS, numbered, write


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from datetime import UTC, datetime

    events = [{**item, "timestamp": datetime.now(UTC)} for item in EVENTS]
    return write(tmp_path_factory.mktemp("data"), numbered(events))


def helped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    return capsys.readouterr().out


def test_the_help_of_a_report_lists_its_parameters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    text = helped(capsys, monkeypatch, "report", "top-values")
    assert "Parameters of top-values" in text
    assert "Name of the field; $.a.b for one inside another [default: user]" in text
    assert "--tz " not in text.partition("Parameters of")[2]  # its SQL has none
    assert "Parameters of" not in helped(capsys, monkeypatch, "report")
    assert "--data" in helped(capsys, monkeypatch, "report", "no-such-report")


@pytest.mark.parametrize("command", ["report", "compact", "query", "journal"])
def test_flags_take_no_value(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert "<bool>" not in helped(capsys, monkeypatch, command)


def completed(words: str, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("METLOG_DATA", str(data))
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    monkeypatch.setenv("_METLOG_COMPLETE", "complete_bash")
    with pytest.raises(SystemExit):
        main([])
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("metlog report uniq", ["unique-users"]),
        ("metlog report top-values --fie", ["--field"]),
        ("metlog report top-values --field us", ["user"]),
        ("metlog report top-values --type c", ["counter"]),
        ("metlog report top-values --logger ", ["svc"]),
        ("metlog report status-codes --by mo", ["month"]),
        ("metlog report status-codes --each ", ["true", "false"]),
        ("metlog tail --type lo", ["login"]),
        ("metlog expire --type re", ["request"]),
    ],
)
def test_the_shell_completes_reports_parameters_types_and_fields(
    words: str, offers: list[str], data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed(words, data, capsys, monkeypatch) == offers


def test_without_a_data_folder_nothing_is_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed("metlog tail --type ", tmp_path / "none", capsys, monkeypatch) == []
