from __future__ import annotations

from pathlib import Path

import pytest

from metlog.integrations.graphite_check import check

GOOD = "[stats]\npattern = ^stats\\.\nretentions = 10s:6h,1m:30d\n"
SUM = """
[min]\npattern = \\.lower\naggregationMethod = min\nxFilesFactor = 0
[max]\npattern = \\.upper\naggregationMethod = max\nxFilesFactor = 0
[count]\npattern = \\.count$\naggregationMethod = sum\nxFilesFactor = 0
"""


def test_matching_intervals_have_no_finding() -> None:
    assert check(10, GOOD, SUM) == []


def test_the_configuration_under_deploy_has_no_finding() -> None:
    folder = Path(__file__).parents[2] / "deploy" / "graphite"
    texts = [(folder / name).read_text("utf-8") for name in ("storage-schemas.conf", "storage-aggregation.conf")]
    assert check(10, *texts) == []


@pytest.mark.parametrize(
    ("flush", "schemas", "aggregation", "said"),
    [
        (10, "[a]\npattern = .*\nretentions = 60s:1d\n", SUM, "of 6 flushes only the last is kept; begin its retentions with 10s:…"),
        (10, "[a]\npattern = .*\nretentions = 60:1d\n", SUM, "every 60 s"),
        (10, "[a]\npattern = .*\nretentions = 1s:1d\n", SUM, "charts get gaps"),
        (10, "[a]\npattern = ^carbon\nretentions = 60:1d\n", SUM, "no section matches"),
        (10, "[first]\npattern = .*\nretentions = 1m:1d\n" + GOOD, SUM, "[first]"),
        (10, "[a]\npattern = .*\nretentions = often\n", SUM, "retentions = 'often': wants STEP:TIME pairs"),
        (10, "[a]\npattern = .*\nretentions = 0s:1d\n", SUM, "wants STEP:TIME pairs"),
        (10, "[a]\npattern = .*\nretentions = 10s:6h,15s:1d\n", SUM, "15 s after 10 s: carbon refuses"),
        (10, "[a]\npattern = (\nretentions = 10s:6h\n", SUM, "storage-schemas.conf [a]: pattern = (:"),
        (10, "no section\n", SUM, "storage-schemas.conf: File contains no section headers"),
        (10, GOOD, "", "[carbon's default]: stats.counters.request.GET.200.count is aggregated by 'average'"),
        (10, GOOD, "[a]\npattern = .*\naggregationMethod = average\nxFilesFactor = 0\n", "older peaks shrink"),
        (10, GOOD, "[a]\npattern = .*\naggregationMethod = sum\nxFilesFactor = 0.5\n", "silent for more than 50%"),
        (10, GOOD, "[a]\npattern = .*\naggregationMethod = sum\nxFilesFactor = half\n", "xFilesFactor = 'half': wants a number"),
        (10, GOOD, "[a]\npattern = (\n", "storage-aggregation.conf [a]: pattern"),
    ],
)  # fmt: skip
def test_a_mismatch_is_told_with_its_remedy(flush: float, schemas: str, aggregation: str, said: str) -> None:
    findings = check(flush, schemas, aggregation)
    assert any(said in line for line in findings), findings
