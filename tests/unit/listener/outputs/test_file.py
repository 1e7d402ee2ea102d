"""The output file: each event once, whatever happens in a write; rotation; nothing outside its place."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog import plugins
from metlog.errors import ConfigError
from metlog.listener.outputs import file as module
from metlog.listener.outputs.file import FileOutput
from tests.helpers.sink import batch, numbered

Build = Callable[..., FileOutput]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[FileOutput] = []

    def make(**options: Any) -> FileOutput:
        for earlier in made:  # as a killed process leaves it: its descriptors are closed, nothing else
            earlier.close()
        made.append(FileOutput(path=str(tmp_path / "out.ndjson"), **options))
        made[-1].start()
        return made[-1]

    yield make
    for output in made:
        output.close()


def seen(tmp_path: Path, *names: str) -> list[int]:
    text = "".join((tmp_path / name).read_text() for name in names or ("out.ndjson",))
    return [json.loads(line)["fields"]["n"] for line in text.splitlines()]


def test_events_are_appended_as_lines(build: Build, tmp_path: Path) -> None:
    out = build()
    out.write(batch(*numbered(3), ident="1"))
    out.write(batch(*numbered(2, 3), ident="2"))
    assert seen(tmp_path) == list(range(5))
    assert stat.S_IMODE((tmp_path / "out.ndjson").stat().st_mode) == 0o640 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_batch_that_comes_again_after_a_crash_is_not_repeated(build: Build, tmp_path: Path) -> None:
    build().write(batch(*numbered(3), ident="1"))
    again = build()
    again.write(batch(*numbered(3), ident="1"))
    again.write(batch(*numbered(1, 3), ident="2"))
    assert seen(tmp_path) == list(range(4))


@pytest.mark.parametrize("rest", [1, 40, 10_000])
def test_half_a_batch_is_cut_off_and_written_again(
    build: Build, tmp_path: Path, rest: int, caplog: pytest.LogCaptureFixture
) -> None:
    build().write(batch(*numbered(3), ident="1"))
    whole = (tmp_path / "out.ndjson").read_bytes()
    with open(tmp_path / "out.ndjson", "ab") as file:  # killed between the write and the state
        file.write((whole * 100)[:rest])
    build().write(batch(*numbered(2, 3), ident="2"))
    assert seen(tmp_path) == list(range(5))
    assert f"cut off {rest} bytes" in caplog.text


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("max_bytes", [0, 700])
def test_killed_at_any_step_each_event_is_there_once(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, max_bytes: int
) -> None:
    """Every system call that changes something is a place to die."""
    out = build(max_bytes=max_bytes)
    for number in range(3):
        out.write(batch(*numbered(2, number * 2), ident=str(number)))
    left = [step]

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 0:
                if call is module.write_all:
                    os.write(args[0], args[1][: len(args[1]) // 2])
                raise Killed
            left[0] -= 1
            return call(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_all", dying(module.write_all))
        for name in ("fsync", "rename", "ftruncate"):
            patch.setattr(os, name, dying(getattr(os, name)))
        for number in range(3, 6):
            try:
                out.write(batch(*numbered(2, number * 2), ident=str(number)))
            except Killed:
                break
        else:
            assert max_bytes == 0, "every step was survived: the rotating run has more of them"
    out = build(max_bytes=max_bytes)
    for again in range(number, 6):
        out.write(batch(*numbered(2, again * 2), ident=str(again)))
    names = sorted((path.name for path in tmp_path.glob("out.ndjson*")), reverse=True)
    assert seen(tmp_path, *names) == list(range(12))


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(build: Build, tmp_path: Path) -> None:
    build().write(batch(*numbered(1), ident="1"))
    left = tmp_path / "..out.ndjson.state.12345.tmp"
    strangers = [tmp_path / name for name in (".out.ndjson.tmp", "..out.ndjson2.state.1.tmp", "other.tmp")]
    for path in (left, *strangers):
        path.write_text("{")
    build().write(batch(*numbered(1, 1), ident="2"))
    assert seen(tmp_path) == [0, 1]
    assert not left.exists()
    assert all(path.exists() for path in strangers)


def test_a_disk_that_is_full_for_a_while_harms_nothing(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = build()
    out.write(batch(*numbered(2), ident="1"))

    def full(descriptor: int, content: bytes) -> None:
        os.write(descriptor, content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_all", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                out.write(batch(*numbered(2, 2), ident="2"))
    out.write(batch(*numbered(2, 2), ident="2"))
    assert seen(tmp_path) == list(range(4))


def test_rotation_keeps_so_many_and_loses_none_of_them(build: Build, tmp_path: Path) -> None:
    out = build(max_bytes=1000, keep=3)
    for number in range(40):
        out.write(batch(*numbered(1, number), ident=str(number)))
    names = sorted((path.name for path in tmp_path.glob("out.ndjson*")), reverse=True)
    assert names == ["out.ndjson.3", "out.ndjson.2", "out.ndjson.1", "out.ndjson"]
    kept = seen(tmp_path, *names)
    assert kept == list(range(40 - len(kept), 40))
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)


def test_rotation_from_outside_is_noticed(build: Build, tmp_path: Path) -> None:
    out = build()
    out.write(batch(*numbered(2), ident="1"))
    (tmp_path / "out.ndjson").rename(tmp_path / "moved")
    out.write(batch(*numbered(2, 2), ident="2"))
    (tmp_path / "out.ndjson").unlink()
    out.write(batch(*numbered(1, 9), ident="3"))
    assert seen(tmp_path, "moved") == [0, 1]
    assert seen(tmp_path) == [9]
    build().write(batch(*numbered(1, 9), ident="3"))
    assert seen(tmp_path) == [9]


def test_a_file_that_was_there_is_appended_to(build: Build, tmp_path: Path) -> None:
    (tmp_path / "out.ndjson").write_text('{"fields":{"n":7}}\n')
    build().write(batch(*numbered(1), ident="1"))
    assert seen(tmp_path) == [7, 0]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.ndjson").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"."):
        FileOutput(path=str(tmp_path / "out.ndjson")).start()
    assert (tmp_path / "precious").read_text() == "precious"


def test_what_is_no_file_and_what_belongs_to_another_is_refused(build: Build, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        FileOutput(path=str(tmp_path / "pipe")).start()
    build()
    with pytest.raises(OSError, match="another process writes"):
        FileOutput(path=str(tmp_path / "out.ndjson")).start()
    with pytest.raises(FileNotFoundError):
        FileOutput(path=str(tmp_path / "missing" / "out")).start()


def test_another_encoder(build: Build, tmp_path: Path) -> None:
    build(encoder="text").write(batch(*numbered(2), ident="1"))
    assert len((tmp_path / "out.ndjson").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [({"path": ""}, "path = ''"), ({"path": "x", "keep": 0}, "keep = 0"), ({"path": "x", "encoder": "yaml"}, "yaml")],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plugins.build("output", {"name": "file", **options}, "outputs[0]")


@pytest.mark.parametrize("how", ["renamed", "removed", "link"])
def test_a_folder_that_is_replaced_is_followed(tmp_path: Path, how: str) -> None:
    folder, other = tmp_path / "logs", tmp_path / "other"
    if how == "link":
        (tmp_path / "first").mkdir()
        folder.symlink_to("first")
    else:
        folder.mkdir()
    out = FileOutput(path=str(folder / "out.ndjson"))
    out.start()
    out.write(batch(*numbered(2), ident="1"))
    if how == "renamed":
        folder.rename(other)
    elif how == "removed":
        shutil.rmtree(folder)
    else:
        folder.unlink()
        (tmp_path / "second").mkdir()
        folder.symlink_to("second")
    if how != "link":
        with pytest.raises(FileNotFoundError) as missing:  # held until it is there again
            out.write(batch(*numbered(2, 2), ident="2"))
        assert str(folder) in str(missing.value)
        folder.mkdir()
    out.write(batch(*numbered(2, 2), ident="2"))
    out.write(batch(*numbered(1, 4), ident="3"))
    out.close()
    assert seen(folder) == [2, 3, 4]
    if how == "renamed":
        assert seen(other) == [0, 1]
