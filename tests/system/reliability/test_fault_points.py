"""The real process killed at each named step, once and twice in a row: what was acknowledged is in every output exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from metlog.journal import failpoints
from tests.helpers.reliability import Client, Listener, datagram, faults_in, in_file, in_lake, lines
from tests.helpers.waiting import wait_for

Case = tuple[str, int]
Outcome = Future[None]

AT = {
    "create": "create:2",
    "header": "header:2",
    "append": "append:6",
    "torn": "torn:6",
    "appended": "appended:6",
    "fsync": "fsync:5",
    "fsynced": "fsynced:5",
    "seal": "seal:2",
    "rename": "rename:2",
    "before_unlink": "before_unlink:2",
    "after_unlink": "after_unlink:2",
    "rescue.write": "fsync:4=eio,rescue.write",
    "rescue.end": "fsync:4=eio,rescue.end",
    "rescue.rename": "fsync:4=eio,rescue.rename",
    "rescue.seal": "fsync:4=eio,rescue.seal",
    "cursor": "cursor:4",
    "cursor.rename": "cursor.rename:4",
    "cursor.saved": "cursor.saved:4",
    "batch.pending": "batch.pending:3",
    "batch.delivered": "batch.delivered:3",
    "lake.write": "lake.write:2",
    "lake.fsync": "lake.fsync:2",
    "lake.rename": "lake.rename:2",
    "lake.sync": "lake.sync:2",
    "lake.cursor": "lake.cursor:2",
}
"""Where in the life of a listener each point is armed; the first passing for those that are not here."""

ALONE = ("recover", "recover.seal", "quarantine")
"""Points of a start that need a journal made for them."""
FRESH = 1_000_000


def chains() -> list[tuple[str, ...]]:
    """Points that are tried one after the other on one data folder: each finds what the kill at the one before left."""
    points = [point for point in failpoints.POINTS if point not in ALONE]
    return [*((point,) for point in ALONE), *(tuple(points[n : n + 6]) for n in range(0, len(points), 6))]


def test_every_point_is_tried() -> None:
    assert set(AT) <= set(failpoints.POINTS)
    assert sorted(point for chain in chains() for point in chain) == sorted(failpoints.POINTS)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Case, Outcome]]:
    """What came of every case that was asked for; they run side by side, for most of what each does is wait."""
    wanted = {
        (item.callspec.params["point"], item.callspec.params["kills"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_killed_at"
    }
    with ThreadPoolExecutor(4) as pool:
        found: dict[Case, Outcome] = {}
        for kills in (1, 2):
            for chain in chains():
                if asked := [point for point in chain if (point, kills) in wanted]:
                    ended = pool.submit(run, asked, kills, tmp_path_factory.mktemp(f"{asked[0]}-{kills}"))
                    found |= {(point, kills): ended for point in asked}
        yield found


@pytest.mark.parametrize("kills", [1, 2])
@pytest.mark.parametrize("point", failpoints.POINTS)
def test_killed_at(point: str, kills: int, outcomes: dict[Case, Outcome]) -> None:
    outcomes[point, kills].result()


def run(points: list[str], kills: int, folder: Path) -> None:
    made = Listener(folder)
    try:
        client = Client()
        for point in points:
            if point in ALONE:
                prepare(made, client, damage=point == "quarantine")
            for _ in range(kills):
                if made.start(AT.get(point, point)):
                    use_until_dead(made, client)
                assert made.died(20), f"{point} was not passed"
        judge(made, client)
    finally:
        made.close()


def prepare(made: Listener, client: Client, *, damage: bool) -> None:
    """A journal that its listener left open, damaged at its end if asked for."""
    assert made.start()
    for _ in range(3):
        assert client.submit(made.port("http"))
    made.kill()
    if damage:
        with made.journaled()[-1].open("ab") as segment:
            segment.write(b"\xc1ML\xfe" + b"\x00" * 40)


def use_until_dead(made: Listener, client: Client) -> None:
    def used() -> bool:
        client.submit(made.port("http"))
        datagram(made.port("udp"), b'{"type":"other"}')
        return not made.alive

    wait_for(used, 30)


def judge(made: Listener, client: Client) -> None:
    """The phase without faults: what hung is acknowledged, a fresh event arrives, and nothing is missing, doubled or changed."""
    assert made.start(), made.told.read_text()
    client.settle(made.port("http"))
    datagram(made.port("udp"), lines([FRESH]))
    wait_for(lambda: any(n == FRESH for n, _ in in_file(made.lines)))
    assert made.stop() == 0
    sent = {*client.sent, FRESH}
    assert faults_in(in_lake(made.data), {*client.acknowledged, FRESH}, sent) == []
    assert faults_in(in_file(made.lines), {*client.acknowledged, FRESH}, sent) == []
    assert made.journaled() == []
    assert client.acknowledged == set(client.sent)
    assert leftovers(made.data) == []


def leftovers(data: Path) -> list[Path]:
    """Temporary files that nobody would ever remove."""
    return [path for path in data.rglob(".*") if path.is_file() and path.name != ".lease"]  # queries hold that one
