"""What the commands share: the data folder, errors of usage, writing to a file or to standard output."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn, cast

import typer

from metlog.errors import MetlogError

__all__ = [
    "DataOption",
    "UsageError",
    "data_folder",
    "existing_data_folder",
    "fail",
    "key_values",
    "open_output",
    "words_of",
]


class UsageError(MetlogError):
    """A command was called in a way that cannot work: one line, exit status 2."""


def _folder(text: str) -> Path:
    """A data folder by its path, or by the URI of its data set."""
    if "://" not in text:
        return Path(text)
    from metlog.lake.attached import folder_for

    return folder_for(text)


DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", parser=_folder, metavar="DIR", help="Data folder or s3:// URI; else METLOG_DATA, else ./metlog-data."
    ),
]


def data_folder(given: Path | None) -> Path:
    """The data folder: the option, else METLOG_DATA, else `./metlog-data`."""
    return given if given is not None else _folder(os.environ.get("METLOG_DATA") or "metlog-data")


def existing_data_folder(given: Path | None) -> Path:
    """The same; raises UsageError when it is not there."""
    folder = data_folder(given)
    if not folder.is_dir():
        raise UsageError(
            f"there is no data folder {str(folder)!r}: name one with --data or METLOG_DATA,"
            " start `metlog listen`, or make one to look at with `metlog demo --days 30`; `metlog doctor` looks for what is wrong"
        )
    return folder


def words_of(error: OSError) -> str:
    """Returns what an error of the operating system says, without its number."""
    if error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror


def fail(command: str, error: object, status: int = 1) -> NoReturn:
    """Writes the error to standard error, a line for each fault, and exits with `status`."""
    text = words_of(error) if isinstance(error, OSError) else str(error)
    for line in text.splitlines() or [type(error).__name__]:
        typer.echo(f"metlog {command}: {line}", err=True)
    raise typer.Exit(status)


def _is_stdout(path: Path) -> bool:
    """Whether this is where standard output goes."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # no such file; no standard output, or one without a descriptor
        return False


@contextmanager
def open_output(path: Path | None, option: str = "--output") -> Iterator[BinaryIO]:
    """Standard output, or a file that appears whole: it is written beside its place and moved there at the end, with the rights of the one
    that was there. Standard output by another name (`/dev/stdout`) is standard output. What is no regular file (a FIFO, a device,
    `/dev/fd/63` of `>(gzip)`) is written to as it is; of a symbolic link, what it points to is replaced."""
    if path is None or str(path) == "-" or _is_stdout(path):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(
            f"{option} {str(path)!r}: " + ("is a folder" if path.is_dir() else "its folder does not exist")
        )
    try:
        mode = path.stat().st_mode  # before links are resolved: what /proc says of a pipe is no path
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        with path.open("wb", buffering=0) as stream:
            yield cast("BinaryIO", stream)
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            if mode is not None and mode != os.fstat(stream.fileno()).st_mode:
                os.fchmod(stream.fileno(), stat.S_IMODE(mode))
            yield cast("BinaryIO", stream)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def key_values(pairs: list[str], option: str) -> dict[str, Any]:
    """`k=v` options as a dict; a value that is JSON (a number, true, null, a list) is taken as that, else as text."""
    import msgspec

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"{option} {pair!r}: wants NAME=VALUE")
        try:
            found[key] = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):  # bytes of the command line that are not UTF-8
            found[key] = text
    return found
