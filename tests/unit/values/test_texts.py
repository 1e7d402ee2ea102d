"""Text out of anything, and numbers out of text."""

from __future__ import annotations

import pytest

from metlog.values import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("200", 200), ("9" * 18, 10**18 - 1)])
def test_digits_are_a_number(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "1.0", "²", "1²", "١٢", "①", "9" * 19, "9" * 5000])
def test_what_int_refuses_or_reads_otherwise_is_none(text: str) -> None:
    assert whole_number(text) is None
