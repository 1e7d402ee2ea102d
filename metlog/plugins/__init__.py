"""Names to components: encoders, senders, filters, inputs, outputs and reports, loaded by entry-point name with checked options."""

from __future__ import annotations

from metlog.plugins.conversion import convert, suggest
from metlog.plugins.registry import (
    GROUPS,
    Component,
    Plugin,
    build,
    check,
    components,
    installed,
    load,
    parse_spec,
)

__all__ = [
    "GROUPS", "Component", "Plugin", "build", "check", "components", "convert", "installed", "load", "parse_spec", "suggest",
]  # fmt: skip
