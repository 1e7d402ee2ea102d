"""Configurations with anything in the place of anything: each is taken, or refused with ConfigError, and nothing else happens."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from metlog.config import gather, plan
from metlog.errors import ConfigError
from metlog.listener.config import from_mapping

ROOT = Path(__file__).parents[3]


def documented() -> Iterator[dict[str, Any]]:
    """Every configuration in docs/ and deploy/."""
    for path in sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.toml")]):
        text = path.read_text("utf-8")
        for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if path.suffix == ".md" else [text]:
            yield tomllib.loads(block)


def places(inside: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in inside.items() if isinstance(inside, dict) else enumerate(inside):
        yield (*way, key)
        if isinstance(value, dict | list):
            yield from places(value, (*way, key))


KNOWN = list(documented())
TEXTS = [
    "", "a", "é", "\0", "/", "..", "*", "$p", "%s", "${NO_SUCH}", "null", "memory:", "udp", "udp://", "127.0.0.1:0", "::1",
    "[::1]:99999", "http://x:y@z/", "1h", "-1s", "1KB", "1e999s", "x" * 300,
]  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.sampled_from([*TEXTS, 0, -1, 1.5, True, False, 10**30, -(10**18), float("inf"), float("nan")])
        | st.lists(VALUES, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "port", "host", "path", "é", "a b"]), VALUES, max_size=2)
    )
)


@st.composite
def configurations(draw: Any) -> dict[str, Any]:
    made: dict[str, Any] = deepcopy(draw(st.sampled_from(KNOWN)))
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from([(), *places(made)]))
        inside: Any = made
        for key in way[:-1]:
            inside = inside[key]
        if not way:
            made[draw(st.sampled_from(TEXTS))] = draw(VALUES)
        elif isinstance(inside, dict) and draw(st.booleans()):
            del inside[way[-1]]
        else:
            inside[way[-1]] = draw(VALUES)
    return made


def test_there_are_configurations() -> None:
    assert len(KNOWN) > 15
    assert sum("inputs" in each for each in KNOWN) > 5


@example({"inputs": [{"name": "kafka", "group": "\0"}]})
@given(configurations())
def test_of_a_listener(settings: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        from_mapping(settings)


@given(configurations())
def test_of_a_client(settings: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        plan(gather(settings))
