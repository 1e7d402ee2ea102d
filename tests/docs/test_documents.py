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
SHOWN = re.compile(r"^<!-- output -->\n\n?```(?:text|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""What a page shows as the output of the block before it."""
MARK = "\x1eblock"
RUNNABLE = [page for page in PAGES if BLOCK.search(page.read_text("utf-8"))]


def _modules() -> list[str]:
    found = [item.name for item in pkgutil.walk_packages(metlog.__path__, "metlog.")]
    return [
        "metlog",
        *(name for name in found if not name.endswith("__main__") and ".demo." not in name),
    ]


def _outputs(text: str) -> dict[int, str]:
    """What the page shows as output, by the number of the block that writes it."""
    ends = [block.end() for block in BLOCK.finditer(text)]
    shown = {sum(end < found.start() for end in ends): found[1] for found in SHOWN.finditer(text)}
    assert len(shown) == text.count("<!-- output -->"), "a mark without a block of text, or two for one block"
    assert 0 not in shown, "output before the first block that runs"
    return shown


def _matches(shown: str, real: str) -> bool:
    """Whether real output is what is shown; `…` and the blanks beside it are anything within a line, alone any lines."""
    lines = [line.rstrip() for line in shown.rstrip().splitlines()]
    patterns = [
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, re.split(r" *… *", line))) + r"\n" for line in lines
    ]
    text = "".join(f"{line.rstrip()}\n" for line in real.rstrip().splitlines())
    return re.fullmatch("".join(patterns), text) is not None


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        ("one\ntwo\n", "one  \ntwo\n\n", True),
        ("one\n", "one\ntwo\n", False),
        ("a … c\n", "a b b c\n", True),
        ("a … c\n", "a b\nc\n", False),
        ("│ …    │\n", "│ 12 │\n", True),
        ("one\n…\nfour\n", "one\ntwo\nthree\nfour\n", True),
        ("one\n…\ntwo\n", "one\ntwo\n", True),
        ("…\nfive\n", "one\nfour\n", False),
        ("1.5 ms (all)\n", "1x5 ms (all)\n", False),
    ],
)
def test_how_shown_output_is_compared(shown: str, real: str, same: bool) -> None:
    assert _matches(shown, real) is same


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    """```python blocks share one namespace a page, ```bash blocks one folder; both run in the order of the page.

    What the page shows as the output of one (a block of text behind `<!-- output -->`) is what it writes to standard output."""
    script: list[str] = []
    source = page.read_text("utf-8")
    for number, (language, text) in enumerate(BLOCK.findall(source), 1):
        line = f"{page.name}, {language} block {number}"
        script.append(f"print({MARK + chr(10)!r}, end='', flush=True)")
        if language == "python":
            script.append(f"exec(compile({text!r}, {line!r}, 'exec'), names); sys.stdout.flush()")
        else:
            script.append(f"ran = subprocess.run(['bash', '-eu', '-o', 'pipefail', '-c', {text!r}])")
            script.append(f"ran.returncode and sys.exit({line!r} + ': status ' + str(ran.returncode))")
    program = "import subprocess, sys\nnames = {'__name__': '__main__'}\n" + "\n".join(script)
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
    outputs = done.stdout.split(f"{MARK}\n")
    for number, shown in _outputs(source).items():
        assert _matches(shown, outputs[number]), f"block {number} writes:\n{outputs[number]}"


@pytest.mark.parametrize("name", _modules())
def test_examples_in_docstrings_give_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
