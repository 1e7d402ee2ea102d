"""Descriptors beyond the 1,024 that `select.select` takes."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

import pytest

_SELECTABLE = 1024


@contextlib.contextmanager
def many_open() -> Iterator[None]:
    """Whatever is opened in the block has a descriptor of 1,024 or more. Skips the test where the machine allows no such."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _SELECTABLE + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process may have {hard} descriptors here")
    with contextlib.ExitStack() as stack:
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        held = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, held)
        while held < _SELECTABLE:
            held = os.dup(held)
            stack.callback(os.close, held)
        yield
