"""Tools for tests: conformance suites for every extension point, and what was logged, to assert on.

The suites need pytest; `capture` needs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metlog.testing._sending import client_with
    from metlog.testing.capturing import capture
    from metlog.testing.encoders import EncoderConformance
    from metlog.testing.filters import FilterConformance
    from metlog.testing.inputs import InputConformance
    from metlog.testing.logged import LoggedEvents
    from metlog.testing.outputs import OutputConformance
    from metlog.testing.senders import SenderConformance
    from metlog.testing.sinks import MemorySink

__all__ = [
    "EncoderConformance", "FilterConformance", "InputConformance", "LoggedEvents", "MemorySink", "OutputConformance",
    "SenderConformance", "capture", "client_with",
]  # fmt: skip

_WHERE = {
    "EncoderConformance": "encoders",
    "FilterConformance": "filters",
    "InputConformance": "inputs",
    "LoggedEvents": "logged",
    "MemorySink": "sinks",
    "OutputConformance": "outputs",
    "SenderConformance": "senders",
    "capture": "capturing",
    "client_with": "_sending",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        raise ModuleNotFoundError(f"{__name__}.{name} needs pytest: pip install pytest", name="pytest") from None


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
