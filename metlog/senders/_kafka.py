"""What sender, input and output `kafka` share: librdkafka's settings, checked by librdkafka itself, and names of topics."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Producer

from metlog.core.hosts import bare, host_port
from metlog.senders.options import port_number

__all__ = ["RUNTIME", "TOPIC", "brokers_of", "check_settings", "code", "flat", "topic_of", "words"]

log = logging.getLogger("metlog.kafka")
log.addHandler(logging.NullHandler())

TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""What Kafka takes as the name of a topic."""
RUNTIME: Final[Mapping[str, Any]] = {"client.id": "metlog", "log.connection.close": False}
"""Defaults of every client."""
_PROBLEM: Final = re.compile(r'(?:KafkaError\{.*?str=")(.*)"\}')


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys: in TOML, `security.protocol = "ssl"` is a table `security`."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def brokers_of(host: str, port: int, brokers: list[str] | None) -> str:
    """The setting `bootstrap.servers`. Raises ValueError."""
    port_number(port)
    hosts = [broker.strip() for broker in brokers or [] if broker.strip()]
    if hosts:
        return ",".join(hosts)
    if not bare(host):
        raise ValueError(f"host = {host!r}: wants the host name of a broker, or a list of HOST:PORT in `brokers`")
    return host_port(bare(host), port)


def topic_of(path: str, topic: str | None, default: str) -> str:
    """The topic of a URL's path (`kafka://broker/TOPIC`) or of the option."""
    if topic is not None and path.strip("/"):
        raise ValueError(f"path = {path!r}, topic = {topic!r}: give the topic in one of them")
    return topic if topic is not None else path.strip("/") or default


def check_settings(kind: type[Producer] | type[Consumer], settings: Mapping[str, Any]) -> None:
    """Raises ValueError with librdkafka's own words for settings that it does not take. Opens no connection."""
    for key, value in settings.items():
        if isinstance(value, str) and "\0" in value:  # where it ends for librdkafka, which aborts without a group
            raise ValueError(f"{key} = {value!r}: must not hold a NUL character")
    tried = {key: value for key, value in settings.items() if key not in {"bootstrap.servers", "metadata.broker.list"}}
    silent = logging.getLogger("metlog.kafka.check")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False  # that no broker is configured
    try:
        client = kind({**tried, "logger": silent})
    except (KafkaException, ValueError, TypeError) as error:
        raise ValueError(_told(error)) from error
    if isinstance(client, Consumer):
        client.close()


def words(error: KafkaException) -> str:
    """What librdkafka says."""
    inner: Any = error.args[0] if error.args else error
    return str(inner.str()) if hasattr(inner, "str") else str(inner)


def code(error: KafkaException) -> int:
    """The error's code; 0 when it has none."""
    inner: Any = error.args[0] if error.args else None
    return int(inner.code()) if hasattr(inner, "code") else 0


def _told(error: Exception) -> str:
    found = _PROBLEM.search(str(error))
    return f"librdkafka: {found[1] if found else error}"
