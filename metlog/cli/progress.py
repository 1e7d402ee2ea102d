"""A bar on a terminal for what takes more than a moment; nothing where standard error is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["working"]


@contextmanager
def working(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Shows on a terminal what is being done. Yields a function that takes words, how much is done, and of how much (0: not known)."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)

        def tell(text: str, done: int, of: int) -> None:
            shown.update(task, description=f"{what} {text}", completed=done, total=of or None)

        yield tell
