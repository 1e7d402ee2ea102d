"""Configurations with anything in the place of anything: each is taken, or refused with ConfigError, and nothing else happens."""

from __future__ import annotations

import contextlib
import re
import threading
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metlog.config import gather, plan
from metlog.errors import ConfigError
from metlog.journal.segment import header, read_header
from metlog.journal.writer import JournalOptions
from metlog.listener.config import General, ListenerConfig, from_mapping
from metlog.listener.delivery.batches import Limits
from metlog.listener.upkeep.settings import JOBS, LakeUpkeep

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


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
    "[::1]:99999", "http://x:y@z/", "1h", "-1s", "1KB", "1e999s", "x" * 300, "80000d", "9" * 400, "9" * 400 + "d", "9" * 400 + "TB",
]  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.deferred(
    lambda: (
        st.sampled_from(
            [*TEXTS, 0, -1, 1.5, True, False, 2**32, 2**63, 10**30, 10**400, -(10**18), float("inf"), float("nan")]
        )
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


def startable(config: ListenerConfig) -> None:
    """Each number fits into what it is put into: the header of a segment, a wait, a time of the calendar."""
    assert read_header(header(config.clock)) == config.clock
    for seconds in (config.general.drain_timeout, *(output.limits.get("batch_age", 0) for output in config.outputs)):
        threading.Event().wait(-seconds)
        assert seconds < threading.TIMEOUT_MAX
    for job in JOBS:
        schedule = config.lake.schedule(job)
        assert schedule is None or schedule.after(NOW) > NOW
    for age in (config.lake.expire, *config.lake.expire_types.values()):
        assert NOW - timedelta(seconds=age) < NOW or not age


HUGE = [2**32, 2**63, 2**64, 10**30, 10**400, 1e300, "80000d", "99999999d", "9" * 30 + "TB", "9" * 400, "9" * 400 + "d"]


@pytest.mark.parametrize("value", HUGE, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize(
    ("table", "kind"), [("listener", General), ("journal", JournalOptions), ("outputs", Limits), ("lake", LakeUpkeep)]
)
def test_a_number_that_fits_nowhere_is_refused_by_its_key(table: str, kind: type[msgspec.Struct], value: Any) -> None:
    for field in msgspec.structs.fields(kind):
        if not isinstance(field.default, int | float):
            continue
        inside = {field.name: value}
        made: dict[str, Any] = {table: [{"name": "lake", **inside}] if table == "outputs" else inside}
        try:
            startable(from_mapping(made))
        except ConfigError as error:
            assert f"{field.name} = " in str(error)  # noqa: PT017 - or it is taken


@example({"lake": {"compact": "99999999999d"}})
@example({"lake": {"expire": "99999999999d", "expire_types": {"timer": "99999999999d"}}})
@example({"inputs": [{"name": "kafka", "group": "\0"}]})
@given(configurations())
def test_of_a_listener(settings: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        startable(from_mapping(settings))


@given(configurations())
def test_of_a_client(settings: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        plan(gather(settings))
