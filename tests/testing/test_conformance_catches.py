"""The suites catch a sender, an encoder and a filter for every promise that it breaks."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from metlog.testing import EncoderConformance, FilterConformance, SenderConformance

pytestmark = pytest.mark.timeout(600)  # a suite runs whole, once a good one

HERE = os.path.dirname(__file__)
SUITES = {"senders": SenderConformance, "encoders": EncoderConformance, "filters": FilterConformance}
PARAMETER = {  # one of several is enough
    "a_peer_in_trouble_neither_raises_nor_blocks": "[dead]",
    "a_frame_keeps_the_order_of_its_events": "[17]",
}


def load(kind):
    spec = importlib.util.spec_from_file_location(f"broken_{kind}", os.path.join(HERE, f"broken_{kind}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: case for name, case in vars(module).items() if name.startswith("Test")}


CASES = {kind: load(kind) for kind in SUITES}
GOOD = [(kind, name) for kind, cases in CASES.items() for name in cases if name.startswith("TestGood")]
BROKEN = [(kind, name) for kind, cases in CASES.items() for name in cases if not name.startswith("TestGood")]


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory):
    """Runs the suites over all broken ones, one process; by kind and class, the tests that failed."""
    report = tmp_path_factory.mktemp("broken") / "report.xml"
    # Only what is expected to fail, and the good ones: each broken promise may break others, which is no news.
    chosen = []
    for kind, cases in CASES.items():
        for name, case in cases.items():
            place = f"{os.path.join(HERE, f'broken_{kind}.py')}::{name}"
            if name.startswith("TestGood"):
                chosen += [f"{place}::test_{test}" for test in case.only] if getattr(case, "only", ()) else [place]
            chosen += [f"{place}::test_{test}{PARAMETER.get(test, '')}" for test in sorted(case.caught)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-cov", f"--junitxml={report}", *chosen],
        capture_output=True, text=True, timeout=500, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found = {}
    for case in ET.parse(report).iter("testcase"):
        assert case.find("error") is None, ET.tostring(case, "unicode")
        module, _, name = case.get("classname").rpartition(".")
        outcomes = found.setdefault((module.rpartition("broken_")[2], name), {})
        test = case.get("name").partition("[")[0].removeprefix("test_")
        outcomes[test] = outcomes.get(test, False) or case.find("failure") is not None
    return found


@pytest.mark.parametrize(("kind", "name"), GOOD)
def test_a_good_one_passes(verdicts, kind, name):
    assert len(verdicts[kind, name]) >= min(9, len(getattr(CASES[kind][name], "only", ())) or 9)
    assert not any(verdicts[kind, name].values())


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_a_broken_promise_is_caught(verdicts, kind, name):
    assert CASES[kind][name].caught
    assert verdicts[kind, name] == dict.fromkeys(CASES[kind][name].caught, True)


@pytest.mark.parametrize("kind", SUITES)
def test_every_test_of_a_suite_has_one_that_it_catches(kind):
    tests = {name.removeprefix("test_") for name in vars(SUITES[kind]) if name.startswith("test_")}
    assert tests == frozenset().union(*(case.caught for case in CASES[kind].values()))
