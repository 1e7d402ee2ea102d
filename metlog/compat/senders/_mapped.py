"""What the original's senders that are now this package's have in common."""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

from metlog.compat.messages import Formatter, FormatterEncoder
from metlog.encoders import Encoder
from metlog.errors import ConfigError, MetlogError

__all__ = ["Mapped", "formatted", "is_mapped", "resolve"]


def resolve(dotted: str, where: str) -> Any:
    """What a dotted name (`package.module.attr`, `package.module:attr`) names; ConfigError under the key `where`."""
    if not isinstance(dotted, str):
        raise ConfigError(f"{where} = {dotted!r}: wants a dotted name such as package.module.name")
    used, *rest = dotted.replace(":", ".").split(".")
    try:
        found = importlib.import_module(used)
        for part in rest:
            used += f".{part}"
            if not hasattr(found, part):
                importlib.import_module(used)
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError(
            f"{where} = {dotted!r}: cannot be loaded: {type(error).__name__}: {error}; wants the dotted name of something "
            "that can be imported"
        ) from error
    return found


class Mapped:
    """A sender of the original's that is now one of this package's: `settings` say which."""

    def __init__(self, settings: dict[str, Any], encoder: Encoder | None = None) -> None:
        self.settings = settings
        self.encoder = encoder
        """In the place of `json`."""

    def send_message(self, msg: dict[str, Any]) -> NoReturn:
        """Cannot be mapped: raises MetlogError. A subclass that has one of its own is taken as a sender of its own."""
        raise MetlogError(
            f"a {type(self).__name__} sends through a client only; call MetlogClient(sender, logger).send_message(msg)"
        )


def is_mapped(sender: object) -> bool:
    """Whether it is a sender of the original's whose settings say all there is to it."""
    return isinstance(sender, Mapped) and type(sender).send_message is Mapped.send_message


def formatted(formatter: Formatter | str | None) -> Encoder | None:
    if formatter is None:
        return None
    made = formatter if callable(formatter) else resolve(formatter, "sender_formatter")
    return FormatterEncoder(made)
