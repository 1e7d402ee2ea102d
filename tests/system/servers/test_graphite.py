"""The way of a number to Graphite, with the servers people run: Etsy's statsd, carbon-cache, graphite-web.

They are started by deploy/graphite/run.py with the configuration beside it; the numbers are read back from /render.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

from metlog import MetlogClient
from metlog.integrations.asgi import MetlogMiddleware as AsgiMiddleware
from metlog.integrations.login import login_failure, login_success
from metlog.integrations.wsgi import MetlogMiddleware
from tests.helpers.paths import ROOT
from tests.helpers.ports import free_ports

RUN = ROOT / "deploy" / "graphite" / "run.py"
DEADLINE = 60.0
"""Seconds: a start of three servers, or statsd's flush interval (10 s) several times over."""

pytestmark = pytest.mark.graphite


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
        while (found := self._now(*expected)) != expected:
            assert time.monotonic() < end, f"{found} instead of {expected}"
            time.sleep(0.25)

    def _now(self, *targets: str) -> dict[str, float] | str:
        try:
            return self.values(*targets)
        except urllib.error.HTTPError as error:  # graphite-web read a Whisper file that carbon was about to make
            return f"{error}: {error.read()[:2000]!r}"


@pytest.fixture(scope="module")
def graphite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graphite]:
    spec = importlib.util.spec_from_file_location("graphite_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = tmp_path_factory.mktemp("graphite")
    node = Path(os.environ.get("METLOG_TEST_NODE") or data)
    if lacking := module.missing(node):
        pytest.skip("needs " + ", ".join(lacking))
    statsd, web, carbon, carbonlink, admin = free_ports(5)
    command = [sys.executable, str(RUN), "--data", str(data), "--node", str(node)]
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


@pytest.fixture(scope="module")
def traffic(graphite: Graphite, tmp_path_factory: pytest.TempPathFactory) -> Graphite:
    """Everything is sent at once, so that statsd's flush interval is waited for once."""
    with ExitStack() as stack:

        def client(prefix: str) -> MetlogClient:
            made = MetlogClient.from_config(
                "memory:", logger="web", statsd=f"udp://127.0.0.1:{graphite.statsd}?prefix={prefix}"
            )
            return stack.enter_context(closing(made))

        send_directly(client("direct").statsd)
        serve_requests(client("wsgi"), client("asgi"))
        send_a_share(client("sampled").statsd)
        through_a_listener(graphite.statsd, tmp_path_factory.mktemp("listener"))
    return graphite


def send_directly(direct: Any) -> None:
    for _ in range(5):
        direct.incr("hits", 2)
    with direct.pipeline() as pipe:  # in one datagram, and so in one flush
        pipe.timing("took", 100)
        pipe.timing("took", 300)
        pipe.gauge("size", 7)
        for user in ("a", "b", "a"):
            pipe.set("users", user)


def serve_requests(wsgi: MetlogClient, asgi: MetlogClient) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("500 Broken" if environ["PATH_INFO"] == "/broken" else "200 OK", [])
        return [b""]

    async def asgi_application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nowhere(message: Any) -> None:
        pass

    middleware = MetlogMiddleware(application, client=wsgi)
    for path in ("/a", "/b", "/a", "/broken", "/healthz"):
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ["PATH_INFO"] = path
        middleware(environ, lambda status, headers: lambda data: None)
    scope = {"type": "http", "method": "POST", "path": "/a", "headers": []}
    for _ in range(2):
        asyncio.run(AsgiMiddleware(asgi_application, client=asgi)(dict(scope), None, nowhere))  # type: ignore[arg-type]
    login_success("u1", client=wsgi)
    login_failure("u2", reason="password", client=wsgi)
    login_failure("u3", reason="password", client=wsgi)


def send_a_share(sampled: Any) -> None:
    """Four calls that were chosen, each of which stands for ten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.random", lambda: 0.0)
        for _ in range(4):
            sampled.incr("hits", rate=0.1)


def through_a_listener(statsd: int, folder: Path) -> None:
    """Counters and timers as events, over UDP to a listener, whose output hands them to statsd."""
    (port,) = free_ports(1)
    configuration = folder / "listener.toml"
    configuration.write_text(f"""
[[inputs]]
name = "udp"
port = {port}

[[outputs]]
name = "statsd"
port = {statsd}
prefix = "listened"
""")
    listener = subprocess.Popen(
        [sys.executable, "-m", "metlog", "listen", "--data", str(folder / "data"), "--config", str(configuration)],
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
    finally:
        listener.terminate()  # it hands on what it has, and ends
        listener.communicate(timeout=30)
    assert listener.returncode == 0


def test_what_client_statsd_sent_is_in_the_charts(traffic: Graphite) -> None:
    traffic.await_values({
        "stats.counters.direct.hits.count": 10,
        "stats.timers.direct.took.mean": 200,
        "stats.timers.direct.took.upper": 300,
        "stats.gauges.direct.size": 7,
        "stats.sets.direct.users.count": 2,
    })  # fmt: skip


def test_what_the_middleware_and_the_login_helpers_sent_is_in_the_charts(traffic: Graphite) -> None:
    traffic.await_values({
        "stats.counters.wsgi.request.GET.200.count": 3,
        "stats.counters.wsgi.request.GET.500.count": 1,
        "stats.timers.wsgi.request.GET.count": 4,
        "stats.counters.asgi.request.POST.404.count": 2,
        "stats.timers.asgi.request.POST.count": 2,
        "stats.counters.wsgi.login.success.count": 1,
        "stats.counters.wsgi.login.failure.count": 2,
    })  # fmt: skip
    assert traffic.values("stats.timers.wsgi.request.GET.upper_95")["stats.timers.wsgi.request.GET.upper_95"] > 0


def test_a_share_of_the_calls_counts_for_all_of_them(traffic: Graphite) -> None:
    traffic.await_values({"stats.counters.sampled.hits.count": 40})


def test_what_the_listeners_output_statsd_sent_is_in_the_charts(traffic: Graphite) -> None:
    traffic.await_values({
        "stats.counters.listened.orders.count": 18,
        "stats.timers.listened.checkout.mean": 50,
        "stats.timers.listened.checkout.count": 2,
    })  # fmt: skip


def test_graphite_web_s_own_page_has_its_scripts(graphite: Graphite) -> None:
    for path in ("", "static/js/composer.js"):
        with urllib.request.urlopen(f"http://127.0.0.1:{graphite.web}/{path}", timeout=10) as answer:
            assert len(answer.read()) > 300


def test_doctor_is_content_with_this_configuration() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "metlog", "doctor", "--graphite", str(RUN.parent)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "graphite keeps what statsd flushes every 10 s" in result.stdout
