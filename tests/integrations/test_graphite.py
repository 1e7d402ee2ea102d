"""The way of a number to Graphite, with the servers people run: Etsy's statsd, carbon-cache, graphite-web.

They are started by deploy/graphite/run.py with the configuration beside it; the numbers are read back from /render.
"""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from metlog import MetlogClient
from metlog.integrations.login import login_failure, login_success
from metlog.integrations.wsgi import MetlogMiddleware

ROOT = Path(__file__).parents[2]
RUN = ROOT / "deploy" / "graphite" / "run.py"
DEADLINE = 60.0
"""Seconds: a start of three servers, or statsd's flush interval (10 s) several times over."""

pytestmark = [pytest.mark.graphite, pytest.mark.slow]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Graphite:
    def __init__(self, statsd: int, web: int) -> None:
        self.statsd, self.web = statsd, web

    def values(self, *targets: str) -> dict[str, float]:
        """The sum of what each metric has in the last minutes."""
        query = urllib.parse.urlencode(
            [("format", "json"), ("from", "-10min"), *(("target", target) for target in targets)]
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/render?{query}", timeout=10) as answer:
            found = json.load(answer)
        return {each["target"]: sum(value for value, _ in each["datapoints"] if value is not None) for each in found}

    def await_values(self, expected: dict[str, float]) -> None:
        """Waits until the metrics have these values; says what they had instead."""
        end = time.monotonic() + DEADLINE
        while (found := self.values(*expected)) != expected:
            assert time.monotonic() < end, f"{found} instead of {expected}"
            time.sleep(0.25)


@pytest.fixture(scope="module")
def graphite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graphite]:
    spec = importlib.util.spec_from_file_location("graphite_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if lacking := module.missing():
        pytest.skip("needs " + ", ".join(lacking))
    statsd, web, carbon, carbonlink, admin = free_ports(5)
    command = [sys.executable, str(RUN), "--data", str(tmp_path_factory.mktemp("graphite"))]
    for name, port in zip(
        ("statsd", "web", "carbon", "carbonlink", "admin"), (statsd, web, carbon, carbonlink, admin), strict=True
    ):
        command += [f"--{name}", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        if not process.stdout.readline().startswith("ready"):
            said = process.stderr.read()
            if "npm install" in said:
                pytest.skip(f"needs statsd from npm, which cannot be installed here: {said[-500:]}")
            raise AssertionError(said)
        yield Graphite(statsd, web)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.fixture
def client(graphite: Graphite) -> Iterator[Callable[[str], MetlogClient]]:
    """A client whose metrics go to Graphite under a prefix."""
    with ExitStack() as stack:

        def make(prefix: str) -> MetlogClient:
            made = MetlogClient.from_config(
                "memory:", logger="web", statsd=f"udp://127.0.0.1:{graphite.statsd}?prefix={prefix}"
            )
            return stack.enter_context(closing(made))

        yield make


def test_what_a_service_sends_is_in_the_charts(graphite: Graphite, client: Callable[[str], MetlogClient]) -> None:
    """`client.statsd`, the middleware and the login helpers, all sent at once: statsd's flush interval is waited for once."""
    direct = client("direct").statsd
    for _ in range(5):
        direct.incr("hits", 2)
    direct.timing("took", 100)
    direct.timing("took", 300)
    direct.gauge("size", 7)
    direct.set("users", "a")
    direct.set("users", "b")
    direct.set("users", "a")

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("500 Broken" if environ["PATH_INFO"] == "/broken" else "200 OK", [])
        return [b""]

    web = client("web")
    middleware = MetlogMiddleware(application, client=web)
    for path in ("/a", "/b", "/a", "/broken", "/healthz"):
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ["PATH_INFO"] = path
        middleware(environ, lambda status, headers: lambda data: None)
    login_success("u1", client=web)
    login_failure("u2", reason="password", client=web)
    login_failure("u3", reason="password", client=web)

    graphite.await_values({
        "stats.counters.direct.hits.count": 10,
        "stats.timers.direct.took.mean": 200,
        "stats.timers.direct.took.upper": 300,
        "stats.gauges.direct.size": 7,
        "stats.sets.direct.users.count": 2,
        "stats.counters.web.request.GET.200.count": 3,
        "stats.counters.web.request.GET.500.count": 1,
        "stats.timers.web.request.GET.count": 4,
        "stats.counters.web.login.success.count": 1,
        "stats.counters.web.login.failure.count": 2,
    })  # fmt: skip


def test_a_share_of_the_calls_counts_for_all_of_them(
    graphite: Graphite, client: Callable[[str], MetlogClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)  # chosen each time: four calls that stand for ten each
    sampled = client("sampled").statsd
    for _ in range(4):
        sampled.incr("hits", rate=0.1)
    graphite.await_values({"stats.counters.sampled.hits.count": 40})


def test_the_listeners_output_statsd(graphite: Graphite, tmp_path: Path) -> None:
    """Counters and timers as events, over UDP to a listener, whose output hands them to statsd."""
    configuration = tmp_path / "listener.toml"
    configuration.write_text(f"""
[[inputs]]
name = "udp"
port = {(port := free_ports(1)[0])}

[[outputs]]
name = "statsd"
port = {graphite.statsd}
prefix = "listened"
""")
    listener = subprocess.Popen(
        [sys.executable, "-m", "metlog", "listen", "--data", str(tmp_path / "data"), "--config", str(configuration)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert listener.stdout is not None
        assert any(line.startswith("ready") for line in listener.stdout), listener.communicate()[1]
        with closing(MetlogClient.from_config(f"udp://127.0.0.1:{port}", logger="shop")) as shop:
            for _ in range(6):
                shop.incr("orders", 3)
            shop.timer_send("checkout", 40)
            shop.timer_send("checkout", 60)
        graphite.await_values({
            "stats.counters.listened.orders.count": 18,
            "stats.timers.listened.checkout.mean": 50,
            "stats.timers.listened.checkout.count": 2,
        })  # fmt: skip
    finally:
        listener.terminate()
        listener.communicate(timeout=30)


def test_doctor_is_content_with_this_configuration() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "metlog", "doctor", "--graphite", str(RUN.parent)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "graphite keeps what statsd flushes every 10 s" in result.stdout
