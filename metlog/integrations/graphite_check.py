"""Does carbon keep what statsd flushes? Its retention and aggregation against statsd's flush interval.

The formats are carbon's: https://graphite.readthedocs.io/en/latest/config-carbon.html (storage-schemas.conf,
storage-aggregation.conf).
"""

from __future__ import annotations

import configparser
import re
from typing import Final

__all__ = ["check"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_TIMERS: Final = "stats.timers.request.GET.mean"
_COUNTERS: Final = "stats.counters.request.GET.200.count"


def check(flush: float, schemas: str, aggregation: str) -> list[str]:
    """What is wrong, a line each; `flush` is statsd's flush interval in seconds. Empty when all is well."""
    findings: list[str] = []
    parsed = _parse("storage-schemas.conf", schemas, findings)
    if parsed is not None:
        for metric in (_TIMERS, _COUNTERS):
            findings += _retention(metric, flush, parsed)
    parsed = _parse("storage-aggregation.conf", aggregation, findings)
    if parsed is not None:
        method = next(
            (
                parser_section.get("aggregationmethod", "average")
                for parser_section in parsed.values()
                if re.search(parser_section.get("pattern", "$^"), _COUNTERS)
            ),
            "average",
        )
        if method not in {"sum"}:
            findings.append(
                f"storage-aggregation.conf: counters ({_COUNTERS}) are aggregated by {method!r}, so that older counts shrink; "
                "add a section with pattern = \\.count$ and aggregationMethod = sum before the others"
            )
    return list(dict.fromkeys(findings))


def _parse(name: str, text: str, findings: list[str]) -> dict[str, dict[str, str]] | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        return {section: dict(parser.items(section)) for section in parser.sections()}
    except configparser.Error as error:
        findings.append(f"{name}: {error}")
        return None


def _retention(metric: str, flush: float, schemas: dict[str, dict[str, str]]) -> list[str]:
    for name, section in schemas.items():
        try:
            if not re.search(section.get("pattern", "$^"), metric):
                continue
            step = _seconds(section.get("retentions", "").split(",")[0].split(":")[0].strip())
        except (ValueError, re.error) as error:
            return [f"storage-schemas.conf [{name}]: {error}"]
        if step > flush:
            return [
                f"storage-schemas.conf [{name}]: keeps a value every {step:g} s, and statsd flushes every {flush:g} s: of "
                f"{step / flush:g} flushes only the last is kept; begin its retentions with {flush:g}s:…"
            ]
        if step < flush:
            return [
                f"storage-schemas.conf [{name}]: has a place every {step:g} s, and statsd flushes every {flush:g} s: charts get "
                f"gaps; begin its retentions with {flush:g}s:…"
            ]
        return []
    return [
        f"storage-schemas.conf: no section matches {metric}; carbon takes its default of 60 s; add pattern = ^stats\\."
    ]


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)([smhdwy]?)\w*", text)
    if match is None:
        raise ValueError(f"retentions begin with {text!r}; want a step such as 10s:6h")
    return int(match[1]) * _UNITS[match[2] or "s"]
