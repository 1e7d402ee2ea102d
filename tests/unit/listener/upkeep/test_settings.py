"""`[lake]`: what is taken, what is refused, and when a job is due."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metlog.errors import ConfigError
from metlog.listener.config import from_mapping
from metlog.listener.upkeep.settings import LakeUpkeep, Schedule


def lake(table: dict[str, Any], data: str = "") -> LakeUpkeep:
    return from_mapping({"lake": table, "inputs": [{"name": "udp", "port": 0}]}, data=data or None).lake


def test_nothing_is_done_unless_it_is_asked_for() -> None:
    assert not lake({}).on
    assert not LakeUpkeep().on


def test_times_sizes_and_ages_as_text() -> None:
    found = lake(
        {"compact": "6h", "compact_size": "64MB", "expire": "90d", "expire_types": {"timer": "7d", "debug.*": "1h"}}
    )
    assert (found.compact_size, found.expire, found.expire_types) == (
        64 << 20,
        90 * 86400,
        {"timer": 604_800, "debug.*": 3600},
    )
    assert found.schedule("compact") == Schedule(every=21_600)
    assert found.schedule("expire") == Schedule(minute=3 * 60 + 47)
    assert found.arguments("expire") == {"age": 7_776_000, "types": {"timer": 604_800, "debug.*": 3600}}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"compact": "25:00"}, "lake.compact = '25:00': wants a time of day in UTC"),
        ({"compact": "daily"}, 'as "03:17", an interval, as "6h", or "off"'),
        ({"compact": "0s"}, "lake.compact = '0s'"),
        ({"expire": "soon"}, "lake.expire = 'soon': wants a number and s, m, h, d, w or y, as 90d"),
        ({"expire": 90}, "lake.expire = 90: wants a number and s, m, h, d, w or y, as 90d"),
        ({"expire": "90"}, "lake.expire = '90': wants a number and s, m, h, d, w or y, as 90d"),
        ({"expire": "999999999y"}, "of at most 1000 years"),
        ({"expire_types": {"timer": 7}}, "lake.expire_types.timer = 7: wants a number and s, m"),
        ({"expire": "90d", "expire_at": "noon"}, "lake.expire_at = 'noon'"),
        ({"expire_types": {"timer": 0}}, "lake.expire_types.timer = 0: wants a number"),
        ({"compact_fewest": 1}, "lake.compact_fewest = 1"),
        ({"compact_level": 20}, "lake.compact_level = 20"),
        ({"compakt": "6h"}, "did you mean 'compact'"),
    ],
)  # fmt: skip
def test_faults_name_the_key_the_value_and_the_remedy(table: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lake(table)
    assert told in str(caught.value)


@pytest.mark.parametrize("off", ["off", 0, 0.0])
def test_expire_can_be_turned_off(off: Any) -> None:
    assert not lake({"expire": off}).on


def test_the_jobs_that_are_on_in_words() -> None:
    assert lake({}).described() == []
    assert lake({"compact": "6h", "expire": "90d", "expire_types": {"timer": "36h"}}).described() == [
        "merges small files, every 6h",
        "removes files older than 90 days, timer older than 36 hours, daily at 03:47 UTC",
    ]


def test_a_data_set_on_shared_storage_is_not_kept_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no upkeep of a data set on shared storage \(s3://b/p\)"):
        from_mapping({"lake": {"compact": "6h"}}, data="s3://b/p?region=x", state=tmp_path)
    from_mapping({"lake": {}}, data="s3://b/p?region=x", state=tmp_path)


@pytest.mark.parametrize(
    ("text", "last", "due"),
    [
        ("6h", datetime(2026, 1, 1, 12), datetime(2026, 1, 1, 18)),
        ("03:17", datetime(2026, 1, 1, 3, 16, 59), datetime(2026, 1, 1, 3, 17)),
        ("03:17", datetime(2026, 1, 1, 3, 17), datetime(2026, 1, 2, 3, 17)),
        ("3:17", datetime(2026, 12, 31, 23), datetime(2027, 1, 1, 3, 17)),
    ],
)
def test_when_a_job_is_due(text: str, last: datetime, due: datetime) -> None:
    assert Schedule.parse(text).after(last.replace(tzinfo=UTC)) == due.replace(tzinfo=UTC)
