"""The data folder that a command works on, and how a command fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

__all__ = ["Data", "data_folder", "fail"]

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder; METLOG_DATA, else ./metlog-data, by default."),
]


def data_folder(given: Path | None) -> Path:
    """The folder that was given, METLOG_DATA, or ./metlog-data."""
    return given or Path(os.environ.get("METLOG_DATA") or "metlog-data")


def fail(command: str, error: object, status: int = 1) -> NoReturn:
    """One line (a line a fault) on standard error, and the exit status."""
    for line in str(error).splitlines() or [type(error).__name__]:
        typer.echo(f"metlog {command}: {line}", err=True)
    raise typer.Exit(status)
