"""The command `metlog`. A file a command; only the one that is asked for is imported."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

__all__ = ["main"]

COMMANDS: Final = (
    "demo", "listen", "send", "tail", "query", "report", "serve", "plugins", "bench", "doctor", "test",
)  # fmt: skip


def _command(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(f"metlog.cli.{name}"), name)
    return found


def main() -> None:
    """Runs the command; usage mistakes exit with 2, failures with 1, each with one line on standard error."""
    try:
        import typer
    except ModuleNotFoundError:
        sys.exit("metlog: the command needs its extra: pip install 'metlog[cli]' (or metlog[listener])")
    app = typer.Typer(
        name="metlog",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Structured events from Python services to storage that answers SQL.",
    )

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", help="Show the version.")) -> None:
        if version:
            from metlog import __version__

            typer.echo(f"metlog {__version__}")
            raise typer.Exit

    available = [name for name in COMMANDS if find_spec(f"metlog.cli.{name}") is not None]
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    for name in [asked] if asked in available else available:
        assert name is not None
        with _extra(name):
            app.command(name)(_command(name))
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


@contextlib.contextmanager
def _extra(name: str) -> Any:
    """A command whose packages are not installed says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("metlog."):
            raise
        if name in sys.argv[1:]:
            extra = "web" if name == "serve" else "bench" if name == "bench" else "listener"
            sys.exit(f"metlog {name}: the package {error.name} is not installed: pip install 'metlog[{extra}]'")
