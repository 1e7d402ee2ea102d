"""A Redis server for the tests, of their own."""

import shutil
import socket
import subprocess
import time

import pytest
import redis


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory):
    """The port of a real server that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 10
            while not _answers(port):
                assert process.poll() is None, "redis-server did not start"
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()


def _answers(port):
    try:
        return redis.Redis(port=port).ping()
    except redis.ConnectionError:
        return False
