"""Every `make …` that the documentation names is a rule of the Makefile, and so is every name that it declares."""

from __future__ import annotations

import re

from tests.helpers.paths import ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
RULES = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
PAGES = [
    *ROOT.glob("*.md"),
    *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
    ROOT / ".ci" / "run",
]


def test_what_is_declared_has_a_rule() -> None:
    (declared,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(declared.split()) == RULES


def test_what_the_pages_name_has_a_rule() -> None:
    named: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        for name in re.findall(r"(?:`|^\s*|\$ )make ([a-z]+)\b", text, re.MULTILINE):
            named.setdefault(name, page.name)
    assert {"demo", "test", "hadoop"} <= named.keys()
    assert {name: page for name, page in named.items() if name not in RULES} == {}
