"""docs/extending-the-listener.md has every hook of an input and an output, with when and from which thread it is called."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest

from metlog.listener.adapt import adapt_input, adapt_output
from metlog.listener.inputs import BaseInput, Input
from metlog.listener.outputs import BaseOutput, Output
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "extending-the-listener.md").read_text("utf-8")


def hooks(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def table(title: str) -> dict[str, list[str]]:
    found = re.search(rf"^\| hook of an {title} \|.*?(?=\n\n)", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found[0].splitlines()[2:]]
    return {re.sub(r"\W.*", "", row[0].strip("` ")): row[1:] for row in rows}


@pytest.mark.parametrize(("title", "base", "protocol"), [("input", BaseInput, Input), ("output", BaseOutput, Output)])
def test_every_hook_is_listed_with_when_from_which_thread_and_its_default(
    title: str, base: type, protocol: type
) -> None:
    listed = table(title)
    assert set(listed) == hooks(base)
    for name, cells in listed.items():
        assert len(cells) == 3, name
        assert all(cells), name
        assert "thread" in cells[1], f"{name}: from which thread?"
        assert getattr(base, name).__doc__ if callable(getattr(base, name)) else True, f"{name} has no docstring"
    assert hooks(protocol) <= hooks(base)


def test_an_object_with_the_required_methods_alone_is_a_whole_input_and_output() -> None:
    class Bare:
        addresses: ClassVar[list[str]] = []

        def start(self, *_: Any) -> None: ...

        def write(self, *_: Any) -> None: ...

        def stop(self) -> None: ...

        def stats(self) -> dict[str, int]:
            return {"frames": 7}

    item = adapt_input(Bare())
    assert (item.addresses, item.stats(), item.health(), item.sockets(), list(item.warnings)) == (
        [],
        {"frames": 7},
        "",
        [],
        [],
    )
    output: Any = adapt_output(Bare())  # type: ignore[arg-type]
    assert (output.describe(), output.stats(), output.batch_defaults, output.reads_journal) == (
        "",
        {"frames": 7},
        {},
        False,
    )
    output.close()

    class Reader(Bare):
        def run(self, context: Any) -> None: ...

    assert adapt_output(Reader()).reads_journal  # type: ignore[arg-type]
    assert adapt_input(item) is item
