"""For development and tests: streams, files, memory."""

from __future__ import annotations

import json
from collections import deque
from typing import Any, TextIO

from metlog.compat.messages import Formatter
from metlog.compat.senders._mapped import Mapped, formatted, resolve

__all__ = ["DebugCaptureSender", "FileSender", "StdOutSender", "StreamSender"]


class StdOutSender(Mapped):
    """Sender `stdout`. Without a formatter: JSON, one event a line (the original indented it)."""

    def __init__(self, formatter: Formatter | str | None = None) -> None:
        super().__init__({"name": "stdout"}, formatted(formatter))


class FileSender(Mapped):
    """Sender `file`. Without a formatter: JSON, one event a line (the original indented it)."""

    def __init__(self, filepath: str, formatter: Formatter | str | None = None) -> None:
        super().__init__({"name": "file", "path": str(filepath)}, formatted(formatter))


class StreamSender:
    """Writes to an open stream what the formatter makes of a message: by default JSON, indented by four spaces."""

    def __init__(self, stream: TextIO, formatter: Formatter | str | None = None) -> None:
        self.stream = stream
        self.formatter: Formatter = self.default_formatter
        if formatter is not None:
            self.formatter = formatter if callable(formatter) else resolve(formatter, "formatter")

    def default_formatter(self, msg: dict[str, Any]) -> str:
        """The message as JSON."""
        return json.dumps(msg, indent=4)

    def send_message(self, msg: dict[str, Any]) -> None:
        """Writes one message."""
        self.stream.write(f"{self.formatter(msg)}\n")
        self.stream.flush()


class DebugCaptureSender:
    """Keeps the last 100 messages in `msgs`, as JSON; each is there when the call that logs returns. For tests."""

    nonblocking = True
    immediate = True

    def __init__(self, **attributes: Any) -> None:
        self.msgs: deque[str] = deque(maxlen=100)
        for name, value in attributes.items():
            setattr(self, name, value)

    def send_message(self, msg: dict[str, Any]) -> None:
        """Keeps one message."""
        self.msgs.append(json.dumps(msg))
