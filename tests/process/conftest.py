"""The parts of `plugins/` can be loaded by name, here and in every process that a test starts."""

from __future__ import annotations

import sys

from collecting import PLUGINS

if str(PLUGINS) not in sys.path:
    sys.path.insert(0, str(PLUGINS))
