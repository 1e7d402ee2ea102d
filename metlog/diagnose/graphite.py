"""Does carbon keep what statsd flushes? Its retention and aggregation against statsd's flush interval.

The formats are carbon's: https://graphite.readthedocs.io/en/latest/config-carbon.html (storage-schemas.conf,
storage-aggregation.conf). Names of metrics are those of statsd with `legacyNamespace: false`.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

__all__ = ["check"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_METHODS: Final = {
    "stats.counters.request.GET.200.count": ("sum", r"\.count$", "older counts shrink"),
    "stats.timers.request.GET.upper": ("max", r"\.upper(_\d+)?$", "older peaks shrink"),
    "stats.timers.request.GET.lower": ("min", r"\.lower(_\d+)?$", "older minima rise"),
}
"""Metrics that statsd makes of a counter and a timer: how they must be aggregated, and what happens otherwise."""
_DEFAULT_METHOD: Final = "average"
_DEFAULT_FACTOR: Final = "0.5"

Sections = Mapping[str, Mapping[str, str]]


def check(flush: float, schemas: str, aggregation: str) -> list[str]:
    """What is wrong, a line each; empty when all is well.

    `flush` is statsd's flush interval in seconds, the other two are the texts of storage-schemas.conf and
    storage-aggregation.conf (empty where carbon has none, and takes its defaults).
    """
    findings: list[str] = []
    parsed = _parse("storage-schemas.conf", schemas, findings)
    if parsed is not None:
        for metric in _METHODS:
            findings += _retention(metric, flush, parsed)
    parsed = _parse("storage-aggregation.conf", aggregation, findings)
    if parsed is not None:
        for metric, (method, pattern, otherwise) in _METHODS.items():
            findings += _aggregation(metric, method, pattern, otherwise, parsed)
    return list(dict.fromkeys(findings))


def _parse(name: str, text: str, findings: list[str]) -> Sections | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text, name)
        return {section: dict(parser.items(section)) for section in parser.sections()}
    except configparser.Error as error:
        findings.append(f"{name}: {' '.join(str(error).split())}")
        return None


def _first(metric: str, sections: Sections) -> tuple[str, Mapping[str, str]] | None:
    """The section that carbon takes; raises ValueError for a pattern that is none."""
    for name, section in sections.items():
        try:
            if re.search(section.get("pattern", "$^"), metric):
                return name, section
        except re.error as error:
            raise ValueError(f"[{name}]: pattern = {section['pattern']}: {error}") from error
    return None


def _retention(metric: str, flush: float, schemas: Sections) -> list[str]:
    try:
        found = _first(metric, schemas)
        if found is None:
            return [
                f"storage-schemas.conf: no section matches {metric}; carbon takes its default of 60 s; "
                "add one with pattern = ^stats\\."
            ]
        name, section = found
        steps = _steps(name, section.get("retentions", ""))
    except ValueError as error:
        return [f"storage-schemas.conf {error}"]
    where = f"storage-schemas.conf [{name}]"
    step = steps[0]
    findings = []
    if step > flush:
        findings.append(
            f"{where}: keeps a value every {step:g} s, and statsd flushes every {flush:g} s: of {step / flush:g} flushes "
            f"only the last is kept; begin its retentions with {flush:g}s:…"
        )
    elif step < flush:
        findings.append(
            f"{where}: has a place every {step:g} s, and statsd flushes every {flush:g} s: charts get gaps; "
            f"begin its retentions with {flush:g}s:…"
        )
    for finer, coarser in pairwise(steps):
        if coarser <= finer or coarser % finer:
            findings.append(
                f"{where}: {coarser:g} s after {finer:g} s: carbon refuses a step that is no multiple of the one before it"
            )
    return findings


def _steps(name: str, retentions: str) -> list[int]:
    """Seconds a value, of each retention: `10s:6h,1m:30d` gives 10 and 60; a bare number is seconds."""
    steps = []
    for item in retentions.split(","):
        match = re.fullmatch(r"\s*(\d+)([smhdwy]?)\w*:\s*\d+\w*\s*", item)
        if match is None or int(match[1]) == 0:
            raise ValueError(f"[{name}]: retentions = {retentions!r}: wants STEP:TIME pairs such as 10s:6h,1m:30d")
        steps.append(int(match[1]) * _UNITS[match[2] or "s"])
    return steps


def _aggregation(metric: str, method: str, pattern: str, otherwise: str, sections: Sections) -> list[str]:
    try:
        found = _first(metric, sections)
    except ValueError as error:
        return [f"storage-aggregation.conf {error}"]
    name, section = found or ("carbon's default", {})
    where = f"storage-aggregation.conf [{name}]"
    findings = []
    actual = section.get("aggregationmethod", _DEFAULT_METHOD)
    if actual != method:
        findings.append(
            f"{where}: {metric} is aggregated by {actual!r}, so that {otherwise}; "
            f"add a section with pattern = {pattern} and aggregationMethod = {method} before it"
        )
    factor = section.get("xfilesfactor", _DEFAULT_FACTOR)
    try:
        share = float(factor)
    except ValueError:
        return [*findings, f"{where}: xFilesFactor = {factor!r}: wants a number from 0 to 1"]
    if share > 0 and method == "sum":
        findings.append(
            f"{where}: xFilesFactor = {factor}: of a time in which a counter was silent for more than {1 - share:.0%} "
            "nothing is kept; set it to 0"
        )
    return findings
