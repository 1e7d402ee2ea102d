"""Starts statsd, carbon-cache and graphite-web on this machine, with the configuration beside this file.

python3 deploy/graphite/run.py --data ./graphite-data

Everything that is written goes below --data. It prints `ready` and the addresses when a chart can be asked for; SIGTERM
or Ctrl-C stops all three. It needs Debian's graphite-carbon and graphite-web, and node and npm, with which it installs statsd.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = "/usr/bin/python3"
"""Debian's: graphite-web and the Django it was built for live there."""
_STATSD = Path("node_modules", "statsd", "stats.js")
START = 60.0
"""Seconds that the three may take to start."""
ONCE = 120.0
"""Seconds that what comes before may take: the installation of statsd, the tables of graphite-web."""


def missing(node: Path) -> list[str]:
    """What has to be installed first, as the reader would say it to the package manager; `node` may have statsd already."""
    lacking = []
    if shutil.which("carbon-cache") is None:
        lacking.append("graphite-carbon (Debian: apt install graphite-carbon)")
    found = Path(PYTHON).exists() and subprocess.run(
        [PYTHON, "-c", "import graphite, django"], capture_output=True, check=False
    )
    if not found or found.returncode:
        lacking.append("graphite-web (Debian: apt install graphite-web)")
    if shutil.which("node") is None:
        lacking.append("node (Debian: apt install nodejs)")
    if shutil.which("npm") is None and not (node / _STATSD).exists():
        lacking.append("npm (Debian: apt install npm)")
    return lacking


class Stack:
    """The three processes and their folder."""

    def __init__(
        self, data: Path, statsd: int, web: int, carbon: int, carbonlink: int, admin: int, node: Path | None = None
    ) -> None:
        self.data = data.resolve()
        self.node = (node or data).resolve()
        self.statsd, self.web, self.carbon, self.carbonlink, self.admin = statsd, web, carbon, carbonlink, admin
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Starts everything and waits until it answers; raises SystemExit with the last lines of a log when one ends."""
        conf, storage = self.data / "conf", self.data / "storage"
        for folder in (conf, storage / "whisper", storage / "log" / "webapp", self.data / "run"):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("storage-schemas.conf", "storage-aggregation.conf"):
            shutil.copy(HERE / name, conf)
        ports = {"LINE_RECEIVER_PORT": self.carbon, "PICKLE_RECEIVER_PORT": 0, "CACHE_QUERY_PORT": self.carbonlink}
        text = (HERE / "carbon.conf").read_text("utf-8")
        for key, port in ports.items():
            text = re.sub(rf"(?m)^{key} = \d+$", f"{key} = {port}", text)
        (conf / "carbon.conf").write_text(text, "utf-8")
        (self.data / "run" / "carbon.pid").unlink(missing_ok=True)

        environment = {
            **os.environ,
            "GRAPHITE_CONF_DIR": str(conf),
            "GRAPHITE_STORAGE_DIR": str(storage),
            "GRAPHITE_SETTINGS_MODULE": "graphite_web_settings",
            "DJANGO_SETTINGS_MODULE": "graphite_web_site",
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CARBONLINK": f"127.0.0.1:{self.carbonlink}",
            "CARBON_PORT": str(self.carbon),
            "STATSD_PORT": str(self.statsd),
            "STATSD_ADMIN_PORT": str(self.admin),
        }
        program = self._statsd_program(environment)
        self._run_once("migrate", [PYTHON, "-m", "django", "migrate", "--run-syncdb", "-v", "0"], environment)
        self._launch("carbon", [
            shutil.which("carbon-cache") or "carbon-cache", "--nodaemon", "--config", str(conf / "carbon.conf"),
            "--logdir", str(storage / "log"), "--pidfile", str(self.data / "run" / "carbon.pid"), "start",
        ], environment)  # fmt: skip
        self._await("carbon", lambda: _connects(self.carbon) and _connects(self.carbonlink))
        self._launch("statsd", ["node", str(program), str(HERE / "statsd.js")], environment)
        self._await("statsd", lambda: _connects(self.admin))
        self._launch("graphite-web", [
            PYTHON, "-m", "django", "runserver", "--noreload", "--nothreading", "--insecure", f"127.0.0.1:{self.web}",
        ], environment)  # fmt: skip
        self._await("graphite-web", lambda: _answers(f"http://127.0.0.1:{self.web}/render?target=none&format=json"))

    def _statsd_program(self, environment: dict[str, str]) -> Path:
        program = self.node / _STATSD
        if not program.exists():
            self.node.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / "package.json", self.node)
            command = ["npm", "install", "--omit=optional", "--no-audit", "--no-fund", "--prefix", str(self.node)]
            self._run_once("npm", command, environment)
        return program

    def _run_once(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with self._log(name).open("wb") as log:
            try:
                result = subprocess.run(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data,
                    timeout=ONCE, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise SystemExit(self._told(name, f"{' '.join(command)} did not end within {ONCE:g} s")) from None
        if result.returncode:
            raise SystemExit(self._told(name, f"{' '.join(command)} ended with {result.returncode}"))

    def _launch(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with self._log(name).open("wb") as log:
            self.running[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.data)

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + START
        while not ready():
            if self.running[name].poll() is not None:
                raise SystemExit(self._told(name, f"{name} ended with {self.running[name].returncode}"))
            if time.monotonic() > end:
                raise SystemExit(self._told(name, f"{name} does not answer within {START:g} s"))
            time.sleep(0.05)

    def _log(self, name: str) -> Path:
        return self.data / f"{name}.log"

    def _told(self, name: str, what: str) -> str:
        lines = self._log(name).read_text("utf-8", "replace").splitlines()[-20:]
        return "\n".join([what, *lines])

    def failed(self) -> str | None:
        """What to say when one of them has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                return self._told(name, f"{name} ended with {process.returncode}")
        return None

    def stop(self) -> None:
        """Ends all three: statsd first, so that carbon still writes what it has flushed."""
        for name in ("statsd", "graphite-web", "carbon"):
            process = self.running.pop(name, None)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own, on this machine
            return True
    except (OSError, urllib.error.URLError):
        return False


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="statsd, carbon and graphite-web on this machine")
    parser.add_argument("--data", type=Path, default=Path("graphite-data"), help="folder for all that is written")
    parser.add_argument("--node", type=Path, help="folder whose node_modules has statsd, or gets it; --data by default")
    for name, port in (("statsd", 8125), ("web", 8080), ("carbon", 2003), ("carbonlink", 7002), ("admin", 8126)):
        parser.add_argument(f"--{name}", type=int, default=port, metavar="PORT", help=f"{name}'s port ({port})")
    options = parser.parse_args()
    lacking = missing(options.node or options.data)
    if lacking:
        sys.exit("needs " + ", ".join(lacking))
    stack = Stack(**vars(options))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        stack.start()
        print(f"ready: statsd udp://127.0.0.1:{options.statsd}, charts http://127.0.0.1:{options.web}", flush=True)
        while (what := stack.failed()) is None:
            time.sleep(0.5)
        sys.exit(what)
    finally:
        stack.stop()


if __name__ == "__main__":
    main()
