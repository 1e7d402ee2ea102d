"""Simulated visitors, who call the sample application over HTTP."""

from __future__ import annotations

import http.client
import random
import threading
import time
from urllib.parse import urlencode

__all__ = ["Visitors"]

_PAGES = (
    ("/", 30), ("/search", 22), ("/product/{}", 26), ("/cart", 10), ("/login", 8), ("/checkout", 6), ("/account", 2), ("/nowhere", 1),
)  # fmt: skip


class Visitors:
    """`threads` visitors at a time, for `seconds`, each with a `pause` (seconds) between two pages; `served` counts the answers,
    `failed` what could not be asked."""

    def __init__(self, port: int, *, seconds: float, threads: int = 8, seed: int = 1, pause: float = 0.0) -> None:
        self.served = 0
        self.failed = 0
        self._port = port
        self._pause = pause
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._visit, args=(random.Random(seed + n),), daemon=True) for n in range(threads)
        ]

    def start(self) -> None:
        """Lets them in."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Waits until the last has gone."""
        for thread in self._threads:
            thread.join()

    def _visit(self, chance: random.Random) -> None:
        pages, weights = zip(*_PAGES, strict=True)
        while time.monotonic() < self._end:
            user = f"u{int(chance.paretovariate(0.7)) % 60}"
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                for _ in range(chance.randint(2, 8)):
                    page = chance.choices(pages, weights)[0].format(chance.randint(1, 400))
                    query = {"user": user}
                    if page == "/login":
                        query["password"] = "right" if chance.random() < 0.85 else "wrong"
                    if page == "/checkout" and chance.random() < 0.05:
                        query["card"] = "broken"
                    self._get(connection, f"{page}?{urlencode(query)}")
                    if self._pause:
                        time.sleep(chance.expovariate(1 / self._pause))
            finally:
                connection.close()

    def _get(self, connection: http.client.HTTPConnection, path: str) -> None:
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()
            with self._lock:
                self.failed += 1
        else:
            with self._lock:
                self.served += 1
