"""What a listener does again and again: no failure ends it, and each is told until it is over."""

from __future__ import annotations

import logging

import pytest

from metlog.listener import keeping
from metlog.listener.keeping import Keeper, Work
from tests.helpers.waiting import wait_for


class Failing:
    """Raises what it is told to, and counts."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.times = 0

    def __call__(self) -> None:
        self.times += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def works() -> dict[str, Failing]:
    return {"tidy": Failing(), "write": Failing()}


@pytest.fixture
def keeper(works: dict[str, Failing]) -> Keeper:
    return Keeper(*(Work(name, do) for name, do in works.items()))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            TypeError("Encoding objects of type numpy.int64 is unsupported"),
            "cannot tidy: TypeError: Encoding objects of type",
        ),
        (OSError(28, "No space left on device"), "cannot tidy: [Errno 28] No space left on device"),
    ],
)
def test_what_fails_is_told_and_hinders_nothing_else(
    keeper: Keeper, works: dict[str, Failing], error: Exception, told: str
) -> None:
    works["tidy"].error = error
    keeper.round()
    assert works["write"].times == 1
    assert [text.startswith(told) for text in keeper.health()] == [True]
    works["tidy"].error = None
    keeper.round()
    assert keeper.health() == []


def test_the_thread_outlives_every_failure(
    keeper: Keeper, works: dict[str, Failing], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "_TURN", 0.001)
    works["tidy"].error = KeyError("broken")
    with caplog.at_level(logging.WARNING, "metlog.listener"):
        keeper.start()
        wait_for(lambda: works["tidy"].times > 3 and works["write"].times > 3)
        assert keeper.health() == ["cannot tidy: KeyError: 'broken'"]
        keeper.stop()
    assert len(caplog.records) == 1, "once, and not with each round"
    assert caplog.records[0].exc_info


def test_what_is_done_now_and_then_waits_for_its_time() -> None:
    seldom, always = Failing(), Failing()
    keeper = Keeper(Work("seldom", seldom, every=3600.0), Work("always", always))
    for _ in range(3):
        keeper.round()
    assert (seldom.times, always.times) == (0, 3)


def test_a_keeper_that_never_began_is_stopped() -> None:
    Keeper().stop()
