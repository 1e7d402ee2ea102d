"""The table of docs/integrations.md: each line runs as it is written after `import metlog`."""

from __future__ import annotations

import re

import pytest

import metlog
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "integrations.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"metlog\.integrations\.[a-z_]+\.[A-Za-z_]+", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_what_the_page_names_is_there(name: str) -> None:
    found = metlog
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    assert callable(found)
