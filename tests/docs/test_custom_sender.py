"""The example of a sender of one's own: installed as a package of its own, found by name, held to every promise."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

EXAMPLE = ROOT / "examples" / "custom_sender"
PAGE = ROOT / "docs" / "writing-a-sender.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the example, and the environment in which it is installed: in a folder of its own, beside this metlog."""
    pytest.importorskip("redis", reason="needs redis: pip install redis")
    folder = tmp_path_factory.mktemp("custom_sender")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    # With hatchling at hand nothing is fetched; else pip gets it.
    offline = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", *offline,
            "--target", str(folder / "site"), str(source),
        ],
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("METLOG_", "PYTEST_", "COV_"))}
    return source, {**kept, "PYTHONPATH": str(folder / "site")}


def run(environment: dict[str, str], *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=110
    )


def test_it_is_listed_with_its_origin(installed: tuple[Path, dict[str, str]]) -> None:
    done = run(installed[1], "-m", "metlog", "plugins", "sender", "--check", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = (row for row in json.loads(done.stdout) if row["name"] == "redis")
    version = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert (found["target"], found["origin"]) == ("metlog_redis:RedisSender", f"metlog-redis {version}")
    assert found["state"] == "ok"
    assert found["about"] == "Appends frames to the Redis stream `stream`, which keeps about the last `maxlen` of them."


def test_it_is_configured_by_name_and_its_faults_are_told_by_key(installed: tuple[Path, dict[str, str]]) -> None:
    program = """
import metlog
client = metlog.configure(sender="redis", logger="shop")
assert type(client.sender).__module__ == "metlog_redis", client.sender
metlog.configure(sender="redis://127.0.0.1:1?stream=events")
metlog.log("lost")
metlog.close(5)
assert metlog.default.stats().dropped == {"redis_error": 1}, metlog.default.stats()
try:
    metlog.configure(sender="redis://127.0.0.1?maxlen=0&strem=x")
except metlog.ConfigError as error:
    print(error)
"""
    done = run(installed[1], "-c", program)
    assert done.returncode == 0, done.stderr
    assert "sender.strem: sender 'redis' has no such option; did you mean 'stream'?" in done.stdout


def test_its_own_tests_pass_on_a_real_server(installed: tuple[Path, dict[str, str]]) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    source, environment = installed
    done = run(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", cwd=source)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE), done.stdout
    assert int(re.findall(r"^(\d+) passed", done.stdout, re.MULTILINE)[0]) >= 20


def test_the_page_shows_exactly_its_code() -> None:
    """Every file that the page names is shown as it stands: the sender whole, of the others a part."""
    shown = re.findall(r"^`(\S+)`[^\n]*:\n\n```\w+\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    files = {name: (EXAMPLE / name).read_text("utf-8") for name, _ in shown}
    assert set(files) == {"src/metlog_redis.py", "pyproject.toml", "tests/test_redis_sender.py"}
    for name, text in shown:
        assert text in files[name], f"{name} differs from what the page shows"
        if name.startswith("src/"):
            assert text == files[name]
