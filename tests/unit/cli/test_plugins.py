"""`metlog plugins`: everything that can be named in a configuration, with what it does and where it comes from."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

import metlog
from metlog.cli import main
from metlog.cli.plugins import about
from tests.helpers.paths import ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
BUILT_IN = {kind: set(DECLARED[f"metlog.{kind}s"]) for kind in ("encoder", "sender", "filter", "input", "output")}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["plugins", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code, *capsys.readouterr()


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    status, out, err = run(capsys, "--json", *arguments)
    assert (status, err) == (0, "")
    found: list[dict[str, str]] = json.loads(out)
    return found


def test_every_built_in_one_is_listed_with_its_origin_and_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    own = [row for row in rows(capsys) if row["origin"] == f"metlog {metlog.__version__}"]
    assert {kind: {row["name"] for row in own if row["kind"] == kind} for kind in BUILT_IN} == BUILT_IN
    for row in own:
        assert 10 < len(row["about"]) < 200, row
        assert row["about"][0].isupper(), row
        assert "\n" not in row["about"], row
    assert len({(row["kind"], row["about"]) for row in own}) == len(own)


def test_one_kind_by_itself_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "filter")
    assert status == 0
    lines = [line for line in out.splitlines() if line.startswith("│ filter")]
    assert len(lines) >= len(BUILT_IN["filter"])
    (redact,) = (line for line in lines if " redact " in line)
    assert f"metlog {metlog.__version__}" in redact
    assert "Removes what must not leave the process" in redact
    assert "udp" not in out


def test_a_kind_that_does_not_exist_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "senders")
    assert status == 2
    assert "'senders' is no kind of plugin; there is encoder, sender" in err


def test_check_loads_each_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert {row["state"] for row in rows(capsys, "filter", "--check")} == {"ok"}


def test_what_it_does_is_told_though_an_extra_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zmq", None)
    monkeypatch.delitem(sys.modules, "metlog.senders.zmq", raising=False)
    status, out, _ = run(capsys, "sender", "--check", "--json")
    assert status == 1
    (found,) = (row for row in json.loads(out) if row["name"] == "zmq")
    assert found["about"].startswith("Sends each frame as one message")
    assert "cannot be loaded" in found["state"]
    assert {row["state"] for row in json.loads(out) if row["name"] != "zmq"} == {"ok"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('class Own:\n    """Does it, v1.2 or later. And more.\n\n    Details."""\n', "Does it, v1.2 or later."),
        ('def Own():\n    """Does it\n    in two lines:\n\n    >>> 1\n    """\n', "Does it in two lines"),
        ("class Own: pass\n", ""),
        ("from elsewhere import Own\n", ""),
        ("class Own\n", ""),
        ("raise SystemExit\nclass Own:\n  'Never run.'\n", "Never run."),
    ],
)
def test_the_first_sentence_of_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, told: str
) -> None:
    (tmp_path / "metlog_somebodys.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert about("metlog_somebodys:Own") == told


def test_a_module_that_is_not_there_has_nothing_to_say() -> None:
    assert about("metlog_nobodys.senders:Own") == ""
