"""Every named client of the process, by the original's holder."""

from __future__ import annotations

import threading
from typing import Any, Final

from metlog.client import state_of
from metlog.compat.client import CompatClient

__all__ = ["CLIENT_HOLDER", "MetlogClientHolder"]


class MetlogClientHolder:
    """Every named client of the process, and the configuration they share (`global_config`)."""

    def __init__(self) -> None:
        self._clients: dict[str, CompatClient] = {}
        self.global_config: dict[str, Any] = {}
        self.lock = threading.Lock()

    def get_client(self, name: str) -> CompatClient:
        """The client of that name; made, and not yet configured, at the first call. The first one is the default."""
        with self.lock:
            client = self._clients.get(name)
            if client is None:
                client = CompatClient(logger=name)
                self._keep(name, client)
            return client

    def set_client(self, name: str, client: CompatClient) -> None:
        """Keeps a client under a name; the first one is the default."""
        with self.lock:
            self._keep(name, client)

    def _keep(self, name: str, client: CompatClient) -> None:
        if not self._clients:
            self.global_config["default"] = self.global_config.get("default") or name
        self._clients[name] = client

    def name_of(self, client: CompatClient) -> str | None:
        """The name that a client, or one bound to it, is kept under."""
        with self.lock:
            return next((name for name, kept in self._clients.items() if state_of(kept) is state_of(client)), None)

    def set_default_client_name(self, name: str) -> None:
        """Says which client decorators use."""
        self.global_config["default"] = name

    @property
    def default_client(self) -> CompatClient | None:
        """The default client, or None."""
        name = self.global_config.get("default")
        return None if name is None else self._clients.get(name)

    def delete_client(self, name: str) -> None:
        """Forgets a client; it is not closed."""
        with self.lock:
            self._clients.pop(name, None)
            if self.global_config.get("default") == name:
                del self.global_config["default"]


CLIENT_HOLDER: Final = MetlogClientHolder()

CompatClient.holder = CLIENT_HOLDER
