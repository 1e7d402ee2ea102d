"""The words of the page: the same in `/words` and in docs/glossary.md."""

from __future__ import annotations

import html
import re

import pytest
from starlette.testclient import TestClient

from metlog.web.glossary import GLOSSARY
from tests.helpers.paths import ROOT


def test_the_documentation_has_the_same_words() -> None:
    rows = re.findall(
        r"^\| (.+?) \| (.*?) ?\| (.+?) \|$", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE
    )
    assert [(word, wire.replace("`", ""), meaning) for word, wire, meaning in rows[2:]] == list(GLOSSARY)


@pytest.mark.process
def test_the_page_shows_them_and_leads_there(shared_page: TestClient) -> None:
    assert '<a href="/words">words</a>' in shared_page.get("/reports").text
    text = html.unescape(shared_page.get("/words").text)
    for word, wire, meaning in GLOSSARY:
        named = f"{word} <code>{wire}</code>" if wire else word
        meant = meaning.replace("`", "")
        assert f"<dt>{named}</dt><dd>{meant}</dd>" in text
