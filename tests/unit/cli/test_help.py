"""Help texts show every word of their source: none is taken for markup."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import typer

from metlog.cli import _COMMANDS, _app, main


@cache
def _commands() -> dict[str, Any]:
    """Every command by what is typed; of a group, each of its commands too."""
    names = [command.name for command in _COMMANDS]
    found = {name: typer.main.get_command(_app(typer, name)).commands[name] for name in names}  # type: ignore[attr-defined]
    inner = {
        f"{name} {sub}": each
        for name, command in found.items()
        for sub, each in getattr(command, "commands", {}).items()
    }
    return {**found, **inner}


def test_groups_are_looked_into() -> None:
    assert {command.name for command in _COMMANDS} < set(_commands())
    assert "alerts test" in _commands()


@pytest.mark.parametrize("command", sorted(_commands()))
def test_no_word_of_a_help_text_is_lost(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    shown = capsys.readouterr().out
    found = _commands()[command]
    texts = [found.help or "", *(getattr(parameter, "help", "") or "" for parameter in found.params)]
    for text in texts:
        for word in re.findall(r"[\w\[\]]{4,}", text.replace("\\", "")):
            assert word in shown, f"{word!r} of {text!r}"
    assert "[]" not in shown
