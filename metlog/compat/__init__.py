"""The names and calls of the original (2012) metlog client, on this one's core.

Change `metlog` to `metlog.compat` in the imports and every call is found again:

>>> from metlog.compat import client_from_text_config
>>> client = client_from_text_config('''
... [metlog]
... sender_class = metlog.senders.DebugCaptureSender
... logger = sync
... ''', "metlog")
>>> client.metlog("login", payload="user logged in", fields={"user": "u1"})
>>> client.incr("logins", rate=1.0)
>>> len(client.sender.msgs)
2
>>> client.close()

The original's modules are here too: `metlog.holder` is `metlog.compat.holder`, and so on for `client`, `config`,
`decorators`, `exceptions`, `filters`, `logging` and `senders`.

What cannot be mapped raises ConfigError that says so and names what to use. docs/compat.md has the whole list.
"""

from __future__ import annotations

from metlog.compat.client import SEVERITY, CompatClient, MetlogClient
from metlog.compat.config import (
    client_from_dict_config,
    client_from_stream_config,
    client_from_text_config,
    dict_from_stream_config,
)
from metlog.compat.decorators import MetlogDecorator, incr_count, timeit
from metlog.compat.exceptions import EnvironmentNotFoundError, MethodNotFoundError
from metlog.compat.holder import CLIENT_HOLDER, MetlogClientHolder, get_client
from metlog.compat.logging import MetlogHandler, hook_logger

__all__ = [
    "CLIENT_HOLDER", "SEVERITY", "CompatClient", "EnvironmentNotFoundError", "MethodNotFoundError", "MetlogClient",
    "MetlogClientHolder", "MetlogDecorator", "MetlogHandler",
    "client_from_dict_config", "client_from_stream_config", "client_from_text_config", "dict_from_stream_config",
    "get_client", "hook_logger", "incr_count", "timeit",
]  # fmt: skip
