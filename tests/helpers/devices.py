"""Devices that misbehave on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

FULL = Path("/dev/full")
"""The device on which nothing fits; elsewhere than on Linux, and in some containers, there is none."""

needs_full = pytest.mark.skipif(not FULL.is_char_device(), reason="needs the device /dev/full")
