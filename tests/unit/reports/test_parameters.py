"""What a report's file declares of its parameters: it is right, or the file is left out with a word about it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metlog.errors import ConfigError
from metlog.reports.report import Report
from metlog.reports.saving import toml_text
from metlog.reports.spec import Kind, Parameter

_NUMBERS = st.floats() | st.integers(-10, 10).map(float)
_TEXTS = st.sampled_from(["", "a", "7", "1.5", "true", "auto", "UTC", "2026-03-01", "-1", "nan", "9" * 30])
_DECLARED = st.fixed_dictionaries(
    {"type": st.sampled_from(get_args(Kind))},
    optional={
        "default": _TEXTS | st.integers() | st.floats() | st.booleans(),
        "choices": st.lists(_TEXTS, max_size=3),
        "min": _NUMBERS,
        "max": _NUMBERS,
        "latest": st.sampled_from(["until", "p", "no"]),
    },
)


def declared(parameter: dict[str, Any]) -> Report:
    text = toml_text({"title": "A title", "sql": "SELECT $p AS p FROM events", "parameters": {"p": parameter}})
    return Report.from_toml("mine", text, "mine.toml")


@example({"type": "text", "default": "a", "min": 0.0}, "b")
@example({"type": "integer", "default": 6, "max": float("inf")}, "7")
@example({"type": "integer", "default": 6, "min": 7.0, "max": 5.0}, "7")
@given(_DECLARED, _TEXTS)
def test_any_declaration_is_taken_or_refused_with_a_word(parameter: dict[str, Any], given: str) -> None:
    told = ""
    try:
        found = declared(parameter)
    except ConfigError as error:
        told = str(error)
    if told:
        assert told.startswith("mine.toml")
        return
    try:
        found.values({"p": given})
    except ConfigError as error:
        told = str(error)
    assert not told or told.startswith("p = ")


@pytest.mark.parametrize("kind", ["text", "boolean", "choice", "bucket", "time", "zone"])
def test_bounds_are_for_numbers(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"parameters.p: min and max are for a number, not for a {kind}"):
        declared({"type": kind, "choices": ["a"], "max": 7.0})


def test_bounds_of_whole_numbers_may_have_fractions() -> None:
    parameter = Parameter(type="integer", min=-0.5, max=7.9)
    assert [parameter.convert("p", text) for text in ("0", "7")] == [0, 7]
    for text in ("-1", "8"):
        with pytest.raises(ConfigError, match="wants 0 to 7"):
            parameter.convert("p", text)


@pytest.mark.process  # what was evaluated before in this one is kept
def test_bounds_of_a_report_are_none_of_another_types() -> None:
    code = """if True:
        import msgspec
        from metlog.event import Event
        from metlog.journal.cursor import Cursor
        from metlog.reports.spec import Parameter
        for least, most in ((0.0, 7.0), (1.0, None), (0.0, None), (0.0, 2.0**63)):
            Parameter(type="integer", min=least, max=most).convert("severity", "3")
            Parameter(type="number", min=least, max=most).convert("severity", "3")
        print(msgspec.json.decode(msgspec.json.encode(Cursor("a")), type=Cursor) == Cursor("a"))
        print(msgspec.json.decode(b'{"type":"a"}', type=Event).type)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\na\n", "")
