"""Names to components: encoders, senders, filters, inputs, outputs and reports, loaded by entry-point name with checked options."""

from __future__ import annotations

from metlog.plugins.conversion import Seconds, Size, convert, suggest
from metlog.plugins.loading import GROUPS, Plugin, installed, load
from metlog.plugins.registry import Component, build, check, components, parse_spec

__all__ = [
    "GROUPS", "Component", "Plugin", "Seconds", "Size",
    "build", "check", "components", "convert", "installed", "load", "parse_spec", "suggest",
]  # fmt: skip
