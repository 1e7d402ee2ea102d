"""docs/architecture.md: every file in it exists, every folder of the package is in it, its layers are those that are checked."""

from __future__ import annotations

import re
import tomllib

from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:metlog|tests|clients|docs|benchmarks)/[\w./-]*)`", PAGE))
    assert len(named) > 40
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]
    assert not [name for name in sorted(named) if name.endswith("/") != (ROOT / name).is_dir()]


def test_every_folder_and_top_module_of_the_package_is_named() -> None:
    package = ROOT / "metlog"
    there = {f"metlog/{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    there |= {f"metlog/{path.name}" for path in package.glob("*.py")}
    assert not sorted(name for name in there if f"`{name}`" not in PAGE)


def test_the_layers_are_those_that_import_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    held = [layer.replace(" | ", " · ") for layer in layers if layer not in {"__main__", "buffer"}]
    block = re.search(r"```text\n(cli\n.*?)```", PAGE, re.DOTALL)
    assert block is not None
    shown = [line for line in block[1].splitlines() if "──" not in line]
    assert shown == held
