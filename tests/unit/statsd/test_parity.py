"""Held against the `statsd` package itself, so that an update of it cannot drift away from `client.statsd`."""

from __future__ import annotations

import functools
import inspect
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import statsd

from metlog.statsd.client import DisabledStatsd, TcpStatsd, UdpStatsd, UnixStatsd, make

PACKAGE = {"udp": statsd.StatsClient, "tcp": statsd.TCPStatsClient, "unix": statsd.UnixSocketStatsClient}
OURS = {"udp": UdpStatsd, "tcp": TcpStatsd, "unix": UnixStatsd}


def public(kind: type) -> dict[str, Callable[..., Any]]:
    names = [*(name for name in dir(kind) if not name.startswith("_")), "__enter__", "__exit__", "__init__"]
    return {name: getattr(kind, name) for name in names if callable(getattr(kind, name, None))}


def takes_the_same(theirs: Callable[..., Any], ours: Callable[..., Any]) -> None:
    """Every parameter of the package's is there: name, place, kind and default; ours may have optional ones more."""
    wanted = list(inspect.signature(theirs).parameters.values())
    found = list(inspect.signature(ours).parameters.values())
    for index, parameter in enumerate(wanted):
        mine = found[index]
        assert (mine.name, mine.kind, mine.default) == (parameter.name, parameter.kind, parameter.default)
    for extra in found[len(wanted) :]:
        assert extra.default is not extra.empty, f"{extra.name} is one that callers of the package do not give"


@pytest.fixture(params=["udp", "tcp", "unix"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_client_is_one_of_the_package(transport: str) -> None:
    """Code that asks for `isinstance(client, statsd.StatsClient)` is content."""
    assert issubclass(OURS[transport], PACKAGE[transport])


def test_each_client_has_every_method_of_the_package(transport: str) -> None:
    theirs, ours = public(PACKAGE[transport]), public(OURS[transport])
    assert len(theirs) >= 9
    assert theirs.keys() <= ours.keys()
    for name, method in theirs.items():
        takes_the_same(method, ours[name])


def test_the_disabled_client_has_every_method_of_the_package(transport: str) -> None:
    theirs, ours = public(PACKAGE[transport]), public(DisabledStatsd)
    del theirs["__init__"]  # it is made by metlog only
    assert theirs.keys() <= ours.keys()
    for name, method in theirs.items():
        takes_the_same(method, ours[name])


def test_the_disabled_client_has_every_method_of_ours(transport: str) -> None:
    ours, off = public(OURS[transport]), public(DisabledStatsd)
    del ours["__init__"]
    assert ours.keys() <= off.keys()
    for name, method in ours.items():
        assert list(inspect.signature(method).parameters) == list(inspect.signature(off[name]).parameters)


@pytest.fixture
def sinks(tmp_path: object) -> Iterator[dict[str, list[Any]]]:
    """A client of the package and one of ours for each transport, and the disabled one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp, socket.socket(
        socket.AF_UNIX
    ) as unix:  # fmt: skip
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        path = f"{tmp_path}/s"
        unix.bind(path)
        unix.listen()
        made: dict[str, list[Any]] = {
            "udp": [kind("127.0.0.1", udp.getsockname()[1]) for kind in (statsd.StatsClient, UdpStatsd)],
            "tcp": [kind("127.0.0.1", tcp.getsockname()[1]) for kind in (statsd.TCPStatsClient, TcpStatsd)],
            "unix": [kind(path) for kind in (statsd.UnixSocketStatsClient, UnixStatsd)],
        }
        yield made
        for pair in made.values():
            for each in pair:
                each.close()


def test_pipelines_have_every_method_of_the_package(transport: str, sinks: dict[str, list[Any]]) -> None:
    theirs = public(type(sinks[transport][0].pipeline()))
    for pipeline in (sinks[transport][1].pipeline(), make(False).pipeline()):
        ours = public(type(pipeline))
        assert theirs.keys() <= ours.keys()
        for name, method in theirs.items():
            if name != "__init__":
                takes_the_same(method, ours[name])


def test_timers_have_every_method_of_the_package(transport: str, sinks: dict[str, list[Any]]) -> None:
    theirs = type(sinks[transport][0].timer("t"))
    assert isinstance(sinks[transport][1].timer("t"), theirs)
    assert isinstance(make(False).timer("t"), theirs)


class Gathers(list[str]):
    def put(self, data: str, end: bytes) -> None:
        self.append(data)


def use(client: Any) -> None:
    """What applications do with a client: the four complaints about timers are here too (see peers, 4.4)."""
    client.incr("a")
    client.decr("a", 3)
    client.gauge("g", -1)
    client.set("s", 7)
    client.timing("t", 12)
    with client.pipeline() as pipe:
        pipe.incr("b")
        with pipe.pipeline() as inner:
            inner.incr("c")
    timer = client.timer("block")
    with timer:
        pass
    assert timer.ms >= 0
    timer.start()
    timer.stop(send=False)
    timer.send()

    @client.timer("outer")
    @client.timer("inner")
    def function(x: int) -> int:
        return x + 1

    assert function(1) == 2
    assert client.timer("partial")(functools.partial(function, 2))() == 3
    assert function.__name__ == "function"


def test_the_same_calls_make_the_same_lines(
    transport: str, sinks: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = sinks[transport]
    expected: list[str] = []
    monkeypatch.setattr(theirs, "_send", expected.append)
    gathered = Gathers()
    monkeypatch.setattr(ours._line, "put", gathered.put)
    use(theirs)
    use(ours)
    use(make(False))

    def untimed(lines: list[str]) -> list[str]:
        return [line.split(":")[0] if line.endswith("|ms") else line for line in lines]

    assert len(expected) >= 12
    assert untimed(gathered) == untimed(expected)


def test_a_timer_decorates_coroutine_functions(sinks: dict[str, list[Any]]) -> None:
    import asyncio

    for client in (sinks["udp"][1], make(False)):

        @client.timer("async")
        async def function() -> int:
            await asyncio.sleep(0)
            return 1

        assert asyncio.run(function()) == 1
    assert sinks["udp"][1].stats().sent == 1


@pytest.mark.parametrize("rate", [1.0, 0.25])
@pytest.mark.parametrize("prefix", [None, "web"])
@pytest.mark.parametrize("longer", ["", "x" * 500], ids=["one datagram", "two"])
def test_a_request_s_pair_is_what_the_package_makes_of_it(
    sinks: dict[str, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
    prefix: str | None,
    rate: float,
    longer: str,
) -> None:
    """The middleware's shortcut makes the bytes of a pipeline of the package, in as many datagrams."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    theirs, ours = sinks[transport]
    theirs._prefix = ours._prefix = prefix
    expected: list[str] = []
    monkeypatch.setattr(type(theirs), "_after", lambda self, data: expected.append(data))
    gathered = Gathers()
    monkeypatch.setattr(ours._line, "put", gathered.put)
    with theirs.pipeline() as both:
        both.incr(f"request.GET.200{longer}", 1, rate)
        both.timing("request.GET", 12.3456789, rate)
    ours.pair(f"request.GET.200{longer}", "request.GET", 12.3456789, rate)
    assert len(expected) == (2 if longer and transport == "udp" else 1)
    assert gathered == expected
