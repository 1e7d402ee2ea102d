"""Every runnable block of README and docs runs as it stands, and every example in a docstring gives what it says."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metlog
from tests.helpers.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUNNABLE = [page for page in PAGES if BLOCK.search(page.read_text("utf-8"))]


def _modules() -> list[str]:
    found = [item.name for item in pkgutil.walk_packages(metlog.__path__, "metlog.")]
    return [
        "metlog",
        *(name for name in found if not name.endswith("__main__") and ".demo." not in name),
    ]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    """```python blocks share one namespace a page, ```bash blocks one folder; both run in the order of the page."""
    script: list[str] = []
    for number, (language, text) in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
        line = f"{page.name}, {language} block {number}"
        if language == "python":
            script.append(f"exec(compile({text!r}, {line!r}, 'exec'), names)")
        else:
            script.append(
                f"print({line!r}, flush=True); subprocess.run(['bash', '-eu', '-o', 'pipefail', '-c', {text!r}], check=True)"
            )
    program = "import subprocess\nnames = {'__name__': '__main__'}\n" + "\n".join(script)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**kept, "PATH": path, "METLOG_ROOT": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", _modules())
def test_examples_in_docstrings_give_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
