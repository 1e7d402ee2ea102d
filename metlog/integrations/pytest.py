"""The fixture `metlog_events`, for a `conftest.py` where pytest loads no plugins of installed packages (`PYTEST_DISABLE_PLUGIN_AUTOLOAD`):
`pytest_plugins = ["metlog.integrations.pytest"]`. Everywhere else it is there without a word (docs/testing.md)."""

from __future__ import annotations

from _metlog_pytest import metlog_events

__all__ = ["metlog_events"]
