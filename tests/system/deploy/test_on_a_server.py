"""deploy/ for one machine: each file with the program that it is for, where that is installed."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.listener.config import from_mapping
from tests.helpers.certificates import self_signed
from tests.helpers.listener import Listener, environment
from tests.helpers.paths import ROOT
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for

DEPLOY = ROOT / "deploy"
SERVICES = sorted((DEPLOY / "systemd").glob("*.service"))


def needs(program: str) -> str:
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        pytest.skip(f"needs {program}")
    return found


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_units_expose_little(unit: Path, tmp_path: Path) -> None:
    program = needs("systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/metlog/bin/metlog", sys.executable))
    done = subprocess.run(
        [program, "security", "--no-pager", "--offline=true", "--threshold=15", str(copy)],
        capture_output=True,
        text=True,
    )
    if "nrecognized option" in done.stderr or "Unknown" in done.stderr:
        pytest.skip("this systemd-analyze has no --offline")
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stdout + done.stderr
    assert done.returncode == 0, level[0]
    assert f"{unit.stem}.service` gives an exposure of {level[1]}" in (ROOT / "docs" / "deploy.md").read_text() or (
        f"`{unit.name}` {level[1]}" in (ROOT / "docs" / "deploy.md").read_text()
    )


def test_metlog_takes_the_settings_of_the_page_and_of_the_container(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    blocks = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef\n")
    listener = blocks[0].replace("/etc/metlog/tokens", str(tokens))
    for text in (listener, (DEPLOY / "container" / "listener.single.toml").read_text()):
        checked = from_mapping(tomllib.loads(text), data=tmp_path / "data")
        assert [item.id for item in checked.inputs] == ["udp", "http"]
        assert checked.lake.expire == 90 * 86400
        assert checked.lake.on


def test_the_files_of_the_page_exist() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    for name in set(re.findall(r"deploy/[\w./-]*[\w/]", page)):
        assert (ROOT / name).exists() or list(ROOT.glob(f"{name}*")), name


def test_compose_is_unprivileged_and_on_the_loopback() -> None:
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    document = yaml.safe_load((DEPLOY / "compose.single.yaml").read_text())
    for name, service in document["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "/tmp" in service["tmpfs"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
    compose = pytest.importorskip("compose_spec", reason="needs compose-spec")
    compose.PyCompose.from_yaml(yaml.safe_dump(document)).validate()


def test_the_image_is_unprivileged_and_asks_for_its_health() -> None:
    text = (DEPLOY / "container" / "Dockerfile").read_text()
    assert re.search(r"^USER 10001", text, re.MULTILINE)
    assert text.index("HEALTHCHECK") < text.index("ENTRYPOINT")
    command = json.loads(re.search(r"CMD (\[\"python.*\])$", text, re.MULTILINE)[1])  # type: ignore[index]
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    done = subprocess.run(
        [sys.executable, *command[1:]], env={"HEALTH_URL": f"http://127.0.0.1:{port}/healthz"}, stderr=subprocess.PIPE
    )
    assert done.returncode != 0


def test_the_health_check_of_the_image_knows_a_listener_that_is_well(tmp_path: Path) -> None:
    text = (DEPLOY / "container" / "Dockerfile").read_text()
    command = json.loads(re.search(r"CMD (\[\"python.*\])$", text, re.MULTILINE)[1])  # type: ignore[index]
    listener = Listener(tmp_path / "data", "--udp", "off", "--http", "127.0.0.1:0")
    try:
        url = f"{listener.address('http')}/healthz"
        assert subprocess.run([sys.executable, *command[1:]], env={"HEALTH_URL": url}).returncode == 0
    finally:
        assert listener.stop() == 0


def test_logrotate_turns_files_over_while_a_listener_writes_them(tmp_path: Path) -> None:
    """No event is lost or twice, and nothing has to be told to the listener."""
    program = needs("logrotate")
    logs, data = tmp_path / "log", tmp_path / "data"
    logs.mkdir(mode=0o750)
    config = tmp_path / "listener.toml"
    config.write_text(
        f'[[inputs]]\nname = "udp"\nport = 0\n[[outputs]]\nname = "file"\npath = "{logs / "events.ndjson"}"\nbatch_age = 0.05\n'
    )
    text = (DEPLOY / "logrotate" / "metlog").read_text()
    text = re.sub(r"^\s*su .*$", "", text, flags=re.MULTILINE).replace("    dateext\n", "")
    text = text.replace("/var/log/metlog", str(logs)).replace("/var/lib/metlog", str(data))
    rules = tmp_path / "rules"
    rules.write_text(text)
    rules.chmod(0o644)
    tmp_path.chmod(0o755)
    listener = Listener(data, "--config", str(config))
    rotate = [program, "--force", "--state", str(tmp_path / "state"), str(rules)]
    try:
        port = port_of(listener.address("udp"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for turn in range(3):
                for n in range(turn * 100, turn * 100 + 100):
                    sock.sendto(b'{"type":"numbered","seq":%d}\n' % (n + 1), ("127.0.0.1", port))
                wait_for(lambda turn=turn: _file_events(listener) >= turn * 100 + 100)
                done = subprocess.run(rotate, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
    finally:
        assert listener.stop() == 0
    found = [
        json.loads(line)["seq"]
        for path in logs.glob("events.ndjson*")
        for line in _lines(path)
        if b'"numbered"' in line
    ]
    assert sorted(found) == list(range(1, 301))
    assert len(list(logs.glob("events.ndjson.*"))) >= 3


def _file_events(listener: Listener) -> int:
    return int(listener.status()["outputs"]["file"].get("events", 0))


def _lines(path: Path) -> list[bytes]:
    import gzip

    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        return list(file)


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[int, int, str]]:
    """nginx with the configuration of deploy/, a listener and the page behind it: the ports of TLS and plain HTTP, and the page's token."""
    program = needs("nginx")
    listener = Listener(tmp_path / "data", "--udp", "off", "--http", "127.0.0.1:0")
    token = "0123456789abcdef" * 4
    page = subprocess.Popen(
        [sys.executable, "-m", "metlog", "serve", "--data", str(tmp_path / "data"), "--port", "0", "--allow-host", "metlog.example.com"],
        stdout=subprocess.PIPE, text=True, env={**environment(), "METLOG_PAGE_TOKEN": token},
    )  # fmt: skip
    assert page.stdout is not None
    page_port = port_of(page.stdout.readline().strip().rstrip("/"))
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        tls, plain = one.getsockname()[1], two.getsockname()[1]
    self_signed(tmp_path, subject="metlog.example.com")
    text = (DEPLOY / "nginx" / "metlog.conf").read_text()
    for old, new in {
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;", "listen 80;": f"listen 127.0.0.1:{plain};",
        "/etc/metlog/tls/fullchain.pem": str(tmp_path / "server.pem"), "/etc/metlog/tls/privkey.pem": str(tmp_path / "server.key"),
        "127.0.0.1:5580": f"127.0.0.1:{port_of(listener.address('http'))}", "127.0.0.1:8565": f"127.0.0.1:{page_port}",
    }.items():  # fmt: skip
        assert old in text, old
        text = text.replace(old, new)
    text = re.sub(r"^\s*listen \[::\].*$", "", text, flags=re.MULTILINE)
    (tmp_path / "metlog.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/nginx.pid; error_log stderr; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;"
        f" fastcgi_temp_path {tmp_path}/f;"
        f" uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s; include {tmp_path}/metlog.conf; }}\n"
    )
    command = [program, "-e", "stderr", "-c", str(tmp_path / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _connects(tls))
        yield tls, plain, token
    finally:
        nginx.send_signal(signal.SIGQUIT)
        nginx.wait(20)
        page.terminate()
        page.communicate(timeout=30)
        assert listener.stop() == 0


def _connects(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_nginx_serves_page_and_submissions_by_tls_and_keeps_the_rest_to_itself(
    proxied: tuple[int, int, str], tmp_path: Path
) -> None:
    tls, plain, token = proxied
    context = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))

    def ask(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        raw = socket.create_connection(("127.0.0.1", tls), 20)
        connection = http.client.HTTPSConnection("metlog.example.com", tls, context=context, timeout=20)
        connection.sock = context.wrap_socket(raw, server_hostname="metlog.example.com")
        try:
            connection.request(method, path, body, {"Host": "metlog.example.com", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    assert ask("PUT", "/submit/shop/one", b'{"type":"numbered","seq":1}')[0] == 201
    assert ask("PUT", "/submit/shop/one", b'{"type":"numbered","seq":1}')[0] == 201  # known
    assert ask("GET", "/api/reports")[0] == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert ask("GET", "/api/reports", **bearer)[0] == 200
    question = json.dumps({"sql": "SELECT count(*) AS n FROM events WHERE type = 'numbered'"}).encode()
    status, told = ask("POST", "/api/query", question, **bearer, **{"Content-Type": "application/json"})
    assert (status, json.loads(told)["rows"]) == (200, [[1]])
    assert [ask("GET", path, **bearer)[0] for path in ("/healthz", "/metrics")] == [404, 404]
    moved = http.client.HTTPConnection("127.0.0.1", plain, timeout=20)
    moved.request("GET", "/x?y=1", headers={"Host": "metlog.example.com"})
    answer = moved.getresponse()
    assert (answer.status, answer.getheader("location")) == (301, "https://metlog.example.com/x?y=1")
    moved.close()
