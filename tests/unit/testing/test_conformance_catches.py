"""The suites catch a sender, an encoder, a filter, an input and an output for every promise that it breaks."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from metlog.testing import EncoderConformance, FilterConformance, InputConformance, OutputConformance, SenderConformance
from tests.helpers.paths import HELPERS

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

BROKEN_ONES = HELPERS / "broken"
SUITES = {
    "senders": SenderConformance, "encoders": EncoderConformance, "filters": FilterConformance, "inputs": InputConformance,
    "outputs": OutputConformance,
}  # fmt: skip
PROCESSES = {"senders": ["senders"], "others": [kind for kind in SUITES if kind != "senders"]}
TROUBLE = "a_peer_in_trouble_neither_raises_nor_blocks"
PARAMETER = {  # one of several is enough, unless a case says which
    TROUBLE: "[dead]",
    "a_frame_keeps_the_order_of_its_events": "[17]",
}


def load(kind):
    module = importlib.import_module(f"tests.helpers.broken.{kind}")
    return {name: case for name, case in vars(module).items() if name.startswith("Test")}


CASES = {kind: load(kind) for kind in SUITES}
GOOD = [(kind, name) for kind, cases in CASES.items() for name in cases if name.startswith("TestGood")]
BROKEN = [(kind, name) for kind, cases in CASES.items() for name in cases if not name.startswith("TestGood")]


def chosen(kind):
    """Only what is expected to fail, and the good ones whole: each broken promise may break others, which is no news."""
    for name, case in CASES[kind].items():
        place = f"{BROKEN_ONES / kind}.py::{name}"
        if name.startswith("TestGood") and not getattr(case, "only", ()):
            yield place
        for test in sorted({*case.caught, *getattr(case, "only", ())}):
            yield f"{place}::test_{test}{PARAMETER.get(test, '') if test in case.caught else ''}"


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory):
    """Runs the suites over all broken ones, that of senders in one process and all others in another; by suite and class, which tests
    failed."""
    folder = tmp_path_factory.mktemp("broken")
    pytest_run = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "--no-cov"]
    runs = {
        name: subprocess.Popen(
            [*pytest_run, f"--junitxml={folder / name}", *(test for kind in kinds for test in chosen(kind))],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        for name, kinds in PROCESSES.items()
    }  # fmt: skip
    found = {}
    try:
        for name, run in runs.items():
            output, _ = run.communicate(timeout=300)
            assert run.returncode == 1, output
            for case in ET.parse(folder / name).iter("testcase"):
                assert case.find("error") is None, ET.tostring(case, "unicode")
                module, _, of = case.get("classname").rpartition(".")
                outcomes = found.setdefault((module.rpartition(".")[2], of), {})
                outcomes[case.get("name").removeprefix("test_")] = case.find("failure") is not None
    finally:
        for run in runs.values():
            run.kill()
            run.wait()
    return found


@pytest.mark.parametrize(("kind", "name"), GOOD)
def test_a_good_one_passes(verdicts, kind, name):
    only = getattr(CASES[kind][name], "only", ())
    assert len(verdicts[kind, name]) >= (len(only) or 9)
    assert not any(verdicts[kind, name].values())


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_a_broken_promise_is_caught(verdicts, kind, name):
    assert CASES[kind][name].caught
    expected = {test + PARAMETER.get(test, "") for test in CASES[kind][name].caught}
    assert verdicts[kind, name] == dict.fromkeys(expected, True)


@pytest.mark.parametrize("kind", SUITES)
def test_every_test_of_a_suite_has_one_that_it_catches(kind):
    tests = {name.removeprefix("test_") for name in vars(SUITES[kind]) if name.startswith("test_")}
    caught = frozenset().union(*(case.caught for case in CASES[kind].values()))
    assert tests == {test.partition("[")[0] for test in caught}


def test_every_trouble_of_a_peer_has_one_that_it_catches():
    caught = {test for case in CASES["senders"].values() for test in case.caught if case.transport == "tcp"}
    assert {f"{TROUBLE}[{trouble}]" for trouble in ("dead", "swallows", "never_reads")} <= caught
