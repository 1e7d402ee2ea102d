"""The pytest plugin: fixture `metlog_events`, what the code under test logged."""

from __future__ import annotations
