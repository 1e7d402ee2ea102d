"""The original's client calls, and its holder of clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from metlog.client import MetlogClient
from metlog.errors import MetlogError
from metlog.event import ONE
from metlog.timer import DisabledTimer, Timer, sampled_out

__all__ = ["CLIENT_HOLDER", "SEVERITY", "ClientHolder", "CompatClient", "get_client"]


class SEVERITY:
    """The original's names for RFC 5424's severities."""

    EMERGENCY = 0
    ALERT = 1
    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFORMATIONAL = 6
    DEBUG = 7


class _CompatTimer(Timer):
    """A timer whose `result` is whole milliseconds, and whose event may have a logger, a severity and fields."""

    __slots__ = ("_more",)

    def __init__(self, client: CompatClient, name: str, rate: float, more: dict[str, Any]) -> None:
        super().__init__(client, name, rate)
        self._more = more

    @property
    def result(self) -> float | None:
        exact = super().result
        return None if exact is None else round(exact)

    def _send(self, ms: float) -> None:
        assert isinstance(self._client, CompatClient)
        self._client.timer_send(self._name, round(ms), rate=self._rate, **self._more)


class CompatClient(MetlogClient):
    """The client with the original's arguments. Unconfigured it is not active, as the original's without a sender."""

    def __init__(self, name: str | None = None, *, severity: int = 6) -> None:
        super().__init__(name)
        self.severity = severity
        self.logger = name or ""

    def metlog(  # type: ignore[override]
        self,
        type: str,
        logger: str | None = None,
        severity: int | None = None,
        payload: str = "",
        fields: dict[str, Any] | None = None,
        *,
        weight: float = ONE,
    ) -> None:
        """Logs an event under a type; logger and severity as configured unless given."""
        super().metlog(type, logger, self.severity if severity is None else severity, payload, fields, weight=weight)

    def timer(  # type: ignore[override]
        self,
        name: str,
        logger: str | None = None,
        severity: int | None = None,
        fields: dict[str, Any] | None = None,
        rate: float = 1.0,
    ) -> Timer:
        """A timer: context manager and decorator. The rate is enforced here, as in the original."""
        if self.timer_disabled(name) or sampled_out(rate):
            return DisabledTimer(self, name, rate)
        return _CompatTimer(self, name, rate, {"logger": logger, "severity": severity, "fields": fields})

    def timer_send(  # type: ignore[override]
        self,
        name: str,
        elapsed: float,
        logger: str | None = None,
        severity: int | None = None,
        fields: dict[str, Any] | None = None,
        rate: float = 1.0,
    ) -> None:
        """An event of type `timer`; the rate is information only, and gives the event its weight."""
        self._metric("timer", name, elapsed, {"ms": elapsed}, logger, severity, fields, rate)

    def incr(  # type: ignore[override]
        self,
        name: str,
        count: int = 1,
        logger: str | None = None,
        severity: int | None = None,
        fields: dict[str, Any] | None = None,
        rate: float = 1.0,
    ) -> None:
        """An event of type `counter`, sampled by the rate."""
        if not sampled_out(rate):
            self._metric("counter", name, count, {"count": count}, logger, severity, fields, rate)

    def _metric(
        self,
        kind: str,
        name: str,
        value: float,
        measured: dict[str, Any],
        logger: str | None,
        severity: int | None,
        fields: dict[str, Any] | None,
        rate: float,
    ) -> None:
        weight = ONE if rate >= 1.0 else 1.0 / rate
        together = {**(fields or {}), "name": name, "rate": rate, **measured}
        self.metlog(kind, logger, severity, str(value), together, weight=weight)

    def exception(self, msg: object, /, *args: Any, **fields: Any) -> None:
        """Severity 1 (ALERT), as the original has it, with the exception being handled."""
        fields.setdefault("exc_info", True)
        self._oldstyle(1, msg, args, fields)

    def add_method(self, method: Callable[..., Any], override: bool | str = False) -> None:
        """Puts a function on the client under its `metlog_name`, or under the name that `override` gives."""
        name = override if isinstance(override, str) else getattr(method, "metlog_name", method.__name__)
        try:
            self._add(name, method, bool(override))
        except MetlogError as error:
            raise SyntaxError(f"The name [{name}] is already in use") from error

    def setup(
        self,
        sender: Any = None,
        logger: str = "",
        severity: int = 6,
        disabled_timers: Iterable[str] | str | None = None,
        filters: Iterable[Callable[[dict[str, Any]], bool]] | None = None,
    ) -> None:
        """Configures the client with objects, as the original's constructor does.

        `sender` is one of this package's, or any object with `send_message(msg: dict)`; a filter takes the message as a
        dict and says whether to keep it.
        """
        from metlog.compat.config import apply, filter_component, sender_component

        disabled = [disabled_timers] if isinstance(disabled_timers, str) else list(disabled_timers or ())
        apply(
            self,
            logger=logger,
            severity=severity,
            disabled_timers=disabled,
            sender=sender_component(sender),
            filters=[filter_component(item, f"filters[{n}]") for n, item in enumerate(filters or ())],
        )


class ClientHolder:
    """Every named client of the process, and the configuration they share."""

    def __init__(self) -> None:
        self._clients: dict[str, CompatClient] = {}
        self.global_config: dict[str, Any] = {}
        self.lock = threading.Lock()

    def get_client(self, name: str) -> CompatClient:
        """The client of that name; made, and not yet configured, at the first call. The first one is the default."""
        with self.lock:
            client = self._clients.get(name)
            if client is None:
                client = self._clients[name] = CompatClient(name)
                if len(self._clients) == 1:
                    self.global_config.setdefault("default", name)
            return client

    def set_client(self, name: str, client: CompatClient) -> None:
        """Keeps a client under a name; the first one is the default."""
        with self.lock:
            self._clients[name] = client
            if len(self._clients) == 1:
                self.global_config["default"] = name

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
        self._clients.pop(name, None)
        if self.global_config.get("default") == name:
            del self.global_config["default"]


CLIENT_HOLDER: Final = ClientHolder()


def get_client(name: str, config_dict: Mapping[str, Any] | None = None) -> CompatClient:
    """The client of that name, configured when a configuration is given; ValueError when that names another logger."""
    client = CLIENT_HOLDER.get_client(name)
    if config_dict:
        from metlog.compat.config import client_from_dict_config

        logger = config_dict.get("logger")
        if logger and logger != name:
            raise ValueError("Config `logger` value must either match `name` argument or be left blank.")
        client = client_from_dict_config({**config_dict, "logger": name}, client)
    return client
