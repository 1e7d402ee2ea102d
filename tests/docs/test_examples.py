"""Each example runs as it stands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.ports import free_port


def test_the_wsgi_service_logs_its_requests() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "wsgi_service.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    requests = [event["fields"] for event in events if event["type"] == "request"]
    assert [(fields["route"], fields["user"]) for fields in requests] == [("/login", "u1"), ("/item/{id}", "u1")]
    assert [event["type"] for event in events].count("login") == 1


@pytest.mark.parametrize(
    ("name", "path", "needs"),
    [
        ("web_wsgi", "/orders/17", ""),
        ("web_asgi", "/orders/17", "uvicorn"),
        ("web_starlette", "/orders/17", "uvicorn"),
        ("web_fastapi", "/orders/17", "fastapi"),
        ("web_flask", "/orders/17", "flask"),
        ("web_django", "/orders/17/", "django"),
    ],
)
def test_a_web_application_serves_and_its_request_is_on_standard_output(name: str, path: str, needs: str) -> None:
    """As the reader starts it: as a script, ended by Ctrl-C. Only the port is another."""
    if needs:
        pytest.importorskip(needs)
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**kept, "PORT": str(port)},
    )  # fmt: skip
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"X-User": "u1"})
        end = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    assert b"17" in answer.read()
                break
            except urllib.error.URLError as error:
                if process.poll() is not None or time.monotonic() > end:
                    process.kill()
                    pytest.fail(f"{error}; it said: {process.communicate()}")
                time.sleep(0.05)
        assert process.stdout is not None
        out = ""
        for (
            line
        ) in process.stdout:  # a thread of the server may still be at the end of the request when its client has it all
            out += line
            if '"request"' in line:
                break
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert "Traceback" not in said
    events = [json.loads(line) for line in (out + rest).splitlines() if line.startswith("{")]
    (request_event,) = (event for event in events if event["type"] == "request")
    assert request_event["fields"]["status"] == 200
    assert request_event["fields"]["user"] == "u1"
