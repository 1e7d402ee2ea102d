"""Objects of others as full inputs and outputs. Optional members are looked for here, and nowhere else in the listener."""

from __future__ import annotations

from typing import Final

from metlog.listener.inputs import BaseInput, Input, Sink
from metlog.listener.outputs import BaseOutput, Batch, Output

__all__ = ["adapt_input", "adapt_output"]

_INPUT: Final = (
    "watch",
    "bind_sockets",
    "listening",
    "stop",
    "stats",
    "health",
    "sockets",
    "partitions",
    "takes_signed",
)
_OUTPUT: Final = ("start", "close", "describe", "stats", "batch_defaults", "run")
_MISSING: Final = object()


def adapt_input(item: Input | BaseInput) -> BaseInput:
    """Returns the input itself, or one with the defaults of `BaseInput` around an object that does not inherit it."""
    return item if isinstance(item, BaseInput) else _AdaptedInput(item)


def adapt_output(item: Output | BaseOutput) -> BaseOutput:
    """As `adapt_input`. An object with a method `run` reads the journal itself."""
    return item if isinstance(item, BaseOutput) else _AdaptedOutput(item)


def _take_over(adapted: object, inner: object, names: tuple[str, ...]) -> None:
    """Copies the members that `inner` has: calls go straight to its methods."""
    for name in names:
        found = getattr(inner, name, _MISSING)
        if found is not _MISSING:
            setattr(adapted, name, found)


class _AdaptedInput(BaseInput):
    def __init__(self, inner: Input) -> None:
        self._inner = inner
        _take_over(self, inner, _INPUT)

    @property
    def addresses(self) -> list[str]:
        return self._inner.addresses

    def start(self, sink: Sink) -> None:
        self._inner.start(sink)
        self.warnings = getattr(self._inner, "warnings", ())


class _AdaptedOutput(BaseOutput):
    def __init__(self, inner: Output) -> None:
        self._inner = inner
        _take_over(self, inner, _OUTPUT)
        self.reads_journal = "run" in vars(self)  # type: ignore[misc]  # of this object alone

    def write(self, batch: Batch) -> None:
        self._inner.write(batch)
