"""Real listeners as processes, for every test of the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.listener import Listener


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Listener]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, data: Path | None = None) -> Listener:
            listener = Listener(data or tmp_path / "data", *(arguments or ("--udp", "127.0.0.1:0")))
            stack.callback(listener.stop)
            return listener

        yield start
