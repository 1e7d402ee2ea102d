"""The original's decorators."""

from __future__ import annotations

from metlog.compat.decorators.base import MetlogDecorator
from metlog.compat.decorators.stats import incr_count, timeit
from metlog.compat.decorators.util import return_fq_name

__all__ = ["MetlogDecorator", "incr_count", "return_fq_name", "timeit"]
