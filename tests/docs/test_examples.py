"""Each example runs as it stands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wsgi_service_logs_its_requests() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "wsgi_service.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    requests = [event["fields"] for event in events if event["type"] == "request"]
    assert [(fields["route"], fields["user"]) for fields in requests] == [("/login", "u1"), ("/item/{id}", "u1")]
    assert [event["type"] for event in events].count("login") == 1
