"""Help texts show every word of their source: none is taken for markup."""

from __future__ import annotations

import re

import pytest

from metlog.cli import _COMMANDS, main


@pytest.mark.parametrize("command", [command.name for command in _COMMANDS])
def test_no_word_of_a_help_text_is_lost(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from metlog.cli import _app

    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    found = typer.main.get_command(_app(typer, command)).commands[command]  # type: ignore[attr-defined]
    texts = [found.help or "", *(getattr(parameter, "help", "") or "" for parameter in found.params)]
    for text in texts:
        for word in re.findall(r"[\w\[\]]{4,}", text.replace("\\", "")):
            assert word in shown, f"{word!r} of {text!r}"
    assert "[]" not in shown
