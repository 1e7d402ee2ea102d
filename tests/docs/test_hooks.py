"""docs/extending.md names every hook of every interface, and no other: the base classes are walked."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

import pytest

from metlog.encoders import BaseEncoder, Encoder
from metlog.filters import BaseFilter, Filter
from metlog.senders import BaseSender, Sender
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
INTERFACES = {"Senders": (BaseSender, Sender), "Encoders": (BaseEncoder, Encoder), "Filters": (BaseFilter, Filter)}


def hooks(base: type) -> set[str]:
    """The public members that a class itself has, `__call__` included."""
    members = {*vars(base), *get_type_hints(base)}
    return {name for name in members if not name.startswith("_")} | ({"__call__"} & vars(base).keys())


def section(title: str) -> str:
    found = re.search(rf"^## {title}$\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no section {title}"
    return found[1]


def rows(title: str) -> dict[str, list[str]]:
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip("`"): row for row in cells}


@pytest.mark.parametrize("title", INTERFACES)
def test_every_hook_is_documented_and_no_other(title: str) -> None:
    base, _ = INTERFACES[title]
    assert rows(title).keys() == hooks(base)


@pytest.mark.parametrize("title", INTERFACES)
def test_each_says_what_it_is_for_when_it_is_called_and_from_which_thread(title: str) -> None:
    for name, row in rows(title).items():
        assert len(row) == 5, name
        assert all(row), name


@pytest.mark.parametrize("title", INTERFACES)
def test_the_base_has_what_the_protocol_demands_and_a_docstring_on_everything(title: str) -> None:
    base, protocol = INTERFACES[title]
    required: set[str] = {*vars(protocol), *get_type_hints(protocol)} & {*hooks(base), *hooks(protocol)}
    assert required <= hooks(base)
    stated = re.search(r"Required: (.*?)\.$", section(title), re.MULTILINE)
    assert stated is not None
    assert {name.strip(" `") for name in stated[1].split(",")} == required
    members: dict[str, Any] = vars(base)
    for name in hooks(base):
        member = members.get(name)
        if callable(member) or isinstance(member, property):
            assert member.__doc__, f"{base.__name__}.{name} says nothing"
