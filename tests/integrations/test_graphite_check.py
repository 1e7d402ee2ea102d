from __future__ import annotations

import pytest

from metlog.integrations.graphite_check import check

GOOD = "[stats]\npattern = ^stats\\.\nretentions = 10s:6h,1m:30d\n"
SUM = "[count]\npattern = \\.count$\naggregationMethod = sum\n"


def test_matching_intervals_have_no_finding() -> None:
    assert check(10, GOOD, SUM) == []


@pytest.mark.parametrize(
    ("flush", "schemas", "aggregation", "word"),
    [
        (10, "[a]\npattern = .*\nretentions = 60s:1d\n", SUM, "only the last is kept"),
        (10, "[a]\npattern = .*\nretentions = 1s:1d\n", SUM, "gaps"),
        (10, "[a]\npattern = ^carbon\nretentions = 60:1d\n", SUM, "no section matches"),
        (10, GOOD, "[a]\npattern = .*\naggregationMethod = average\n", "aggregated by 'average'"),
        (10, "[a]\npattern = .*\nretentions = often\n", SUM, "'often'"),
        (10, "no section\n", SUM, "storage-schemas.conf"),
    ],
)
def test_a_mismatch_is_told(flush: float, schemas: str, aggregation: str, word: str) -> None:
    assert any(word in line for line in check(flush, schemas, aggregation))
