from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.reliability import Listener


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Callable[..., Listener]]:
    """Makes listeners; none outlives its test."""
    with contextlib.ExitStack() as stack:

        def make(name: str = "listener", **options: Any) -> Listener:
            made = Listener(tmp_path / name, **options)
            stack.callback(made.close)
            return made

        yield make
