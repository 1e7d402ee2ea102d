"""What metlog raises: at configuration and at decoding, never from a call that logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class MetlogError(Exception):
    """Base of everything that metlog raises on purpose."""


class ConfigError(MetlogError, ValueError):
    """Settings that cannot be used. `problems` has one line for each fault: key, value, remedy."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DecodeError(MetlogError, ValueError):
    """A frame that is not what its encoder writes."""


class SenderError(MetlogError):
    """Raised by a sender that lost a frame; the loss is counted under `reason`."""

    def __init__(self, message: str, reason: str = "send_error") -> None:
        self.reason = reason
        super().__init__(message)


class Problems:
    """Collects every fault of a configuration, so that all are reported at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def catch(self, where: str) -> Iterator[None]:
        """Notes a ConfigError, ValueError or TypeError raised inside under the key `where`."""
        try:
            yield
        except ConfigError as error:
            self.lines.extend(error.problems)
        except (ValueError, TypeError) as error:
            self.lines.append(f"{where}: {error}")

    def check(self) -> None:
        """Raises ConfigError when anything was noted."""
        if self.lines:
            raise ConfigError(self.lines)
