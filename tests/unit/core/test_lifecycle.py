"""What runs at a fork: a part that raises keeps no other part from its own."""

from __future__ import annotations

import os

from metlog.core import lifecycle


class Part:
    exit_timeout = 0.0

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.pid = os.getpid()

    def drain(self, deadline: float) -> None: ...

    def flush(self, deadline: float) -> bool:
        return True

    def close(self, deadline: float) -> None: ...

    def after_fork(self) -> None:
        if self.fails:
            raise ValueError("a stranger's part")
        self.pid = os.getpid()


def test_a_part_that_raises_after_a_fork_keeps_no_other_from_its_own() -> None:
    parts = [
        Part(fails=number % 2 == 0) for number in range(8)
    ]  # a set has no order: some good ones come behind bad ones
    for part in parts:
        lifecycle.live.add(part)
    try:
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.write(theirs, bytes(part.pid == os.getpid() for part in parts))
            os._exit(0)
        os.waitpid(child, 0)
        os.close(theirs)
        assert os.read(ours, 100) == bytes(not part.fails for part in parts)
        os.close(ours)
    finally:
        for part in parts:
            lifecycle.live.discard(part)
