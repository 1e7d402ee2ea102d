"""SenderConformance catches a sender for every promise that it breaks."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from metlog.testing import SenderConformance

pytestmark = pytest.mark.timeout(600)  # the suite runs whole, once a broken sender


MODULE = os.path.join(os.path.dirname(__file__), "broken_senders.py")
PARAMETER = {"a_peer_in_trouble_neither_raises_nor_blocks": "[dead]"}  # one of the three is enough


def load():
    spec = importlib.util.spec_from_file_location("broken_senders", MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = {name: case for name, case in vars(load()).items() if name.startswith("Test")}


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory):
    """Runs the suite over all broken senders, one process; by class, the tests that failed."""
    report = tmp_path_factory.mktemp("broken") / "report.xml"
    # Only what is expected to fail, and the good one whole: each broken promise may break others, which is no news.
    chosen = [f"{MODULE}::TestGood"]
    for name, case in CASES.items():
        chosen += [f"{MODULE}::{name}::test_{test}{PARAMETER.get(test, '')}" for test in sorted(case.caught)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-cov", f"--junitxml={report}", *chosen],
        capture_output=True, text=True, timeout=500, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found = {}
    for case in ET.parse(report).iter("testcase"):
        failed = case.find("failure") is not None
        assert case.find("error") is None, ET.tostring(case, "unicode")
        name = case.get("name").partition("[")[0].removeprefix("test_")
        outcomes = found.setdefault(case.get("classname").rpartition(".")[2], {})
        outcomes[name] = outcomes.get(name, False) or failed
    return found


def test_a_good_sender_passes(verdicts):
    assert len(verdicts["TestGood"]) >= 10
    assert not any(verdicts["TestGood"].values())


@pytest.mark.parametrize("case", sorted(set(CASES) - {"TestGood"}))
def test_a_broken_promise_is_caught(verdicts, case):
    assert verdicts[case] == dict.fromkeys(CASES[case].caught, True)


def test_every_test_of_the_suite_has_a_sender_that_it_catches():
    tests = {name.removeprefix("test_") for name in vars(SenderConformance) if name.startswith("test_")}
    assert tests == frozenset().union(*(case.caught for case in CASES.values()))
