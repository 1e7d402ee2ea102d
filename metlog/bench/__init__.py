"""The microbenchmarks: what an event costs its caller and the whole process, beside the floor and what else one could use."""

from __future__ import annotations

from metlog.bench.modes import CASES as OWN
from metlog.bench.output import as_json, as_pyperf, as_svg, as_table
from metlog.bench.peers import CASES as PEERS
from metlog.bench.run import Case, Row, run

__all__ = ["CASES", "Case", "Row", "as_json", "as_pyperf", "as_svg", "as_table", "run"]

CASES: tuple[Case, ...] = (*OWN, *PEERS)
"""Every case: the scale, metlog's modes, and the peers (each is left out when it is not installed)."""
