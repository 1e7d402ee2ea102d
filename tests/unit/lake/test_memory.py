"""How much memory there is for one more process: the least of what the machine, its limits and its control groups leave."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from metlog.lake.memory import available

UNLIMITED = str(2**63 - 4096)
"""How version 1 of the control groups says that there is no limit."""


@pytest.fixture(autouse=True)
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_what_the_machine_has(tmp_path: Path) -> None:
    assert available(system(tmp_path, {})) == 4000 * 1024


def test_what_the_group_leaves_without_what_is_kept_of_files(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/system.slice/metlog.service"
    found = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/metlog.service\n",
            f"{group}/memory.max": "1000000\n",
            f"{group}/memory.current": "900000\n",
            f"{group}/memory.stat": "anon 400000\nfile 500000\ninactive_file 450000\nactive_file 50000\n",
        },
    )
    assert available(found) == 600_000


def test_a_group_above_may_leave_less(tmp_path: Path) -> None:
    found = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/above/below\n",
            "sys/fs/cgroup/above/below/memory.max": "max\n",
            "sys/fs/cgroup/above/below/memory.current": "5000\n",
            "sys/fs/cgroup/above/memory.max": "7000\n",
            "sys/fs/cgroup/above/memory.current": "8000\n",
        },
    )
    assert available(found) == 0


def test_groups_of_version_1(tmp_path: Path) -> None:
    found = system(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu:/elsewhere\n4:memory:/not/seen/in/here\n0::/\n",
            "sys/fs/cgroup/cpu/memory.limit_in_bytes": "1\n",
            "sys/fs/cgroup/cpu/memory.usage_in_bytes": "1\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "500000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "300000\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 9\ntotal_inactive_file 50000\ntotal_active_file 0\n",
        },
    )
    assert available(found) == 250_000
    system(tmp_path, {"sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED})
    assert available(found) == 4000 * 1024


def test_the_limits_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soft = {resource.RLIMIT_AS: 3 << 20, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft[kind], resource.RLIM_INFINITY))
    assert available(system(tmp_path, {})) == 3 << 20
    soft[resource.RLIMIT_DATA] = 1 << 20
    assert available(tmp_path) == 1 << 20


def test_another_system_tells_nothing(tmp_path: Path) -> None:
    assert available(tmp_path) >= 1 << 40
