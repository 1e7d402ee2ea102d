"""Where the repository's parts are, for tests that read them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELPERS = ROOT / "tests" / "helpers"
PLUGINS = HELPERS / "plugins"
"""An installed distribution as pip leaves it: parts found by name, in the tests (`pythonpath` in pyproject.toml) and their programs."""
