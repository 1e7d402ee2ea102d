"""The command `metlog`. Each command is a module here, imported only when it is the one that was asked for."""

from __future__ import annotations

import keyword
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

__all__ = ["main"]


class _Command(NamedTuple):
    """A command: the function that has its name in its module, and what the overview says of it."""

    name: str
    summary: str
    takes_more: bool = False
    """Whether it reads options of its own making (`metlog report errors --top 5`)."""


_COMMANDS: Final = (
    _Command("demo", "The whole way in one go: listener, a web application under traffic, reports."),
    _Command("listen", "The listener: receives events, keeps a journal, writes Parquet."),
    _Command("send", "Sends one event, or one a line from standard input."),
    _Command("tail", "Follows events as they arrive."),
    _Command("query", "SQL over the view `events`, fresh ones included."),
    _Command("sql", "SQL by line editor: history, completion, several lines."),
    _Command("report", "Shows a report, as a table or a chart; without a name, lists them.", takes_more=True),
    _Command("serve", "The web page: reports, charts, search, SQL."),
    _Command("ddl", "What makes the data set visible to Spark, Hive or Trino, as statements."),
    _Command("partitions", "Adds new days to a table in a Hive metastore."),
    _Command("plugins", "Every installed encoder, sender, filter, input, output, report and engine."),
    _Command("bench", "The microbenchmarks."),
    _Command("status", "What the listener, its inputs, outputs and disk do."),
    _Command("alerts", "Alerts and their states; evaluates one, or tells a test notice."),
    _Command("compact", "Merges small Parquet files into large ones."),
    _Command("expire", "Removes old events."),
    _Command("forget", "Removes a person's events, and proves it."),
    _Command("import", "Brings events from files into the data folder."),
    _Command("journal", "The listener's journal: what it holds, who is behind; check, export, repair."),
    _Command("doctor", "Checks configuration and reachability, and says what to do."),
    _Command("test", "Runs the tests that stand in a configuration."),
)


_MODULES: Final = dict.fromkeys(("compact", "expire", "forget", "import"), "upkeep")
"""Modules with several commands; any other command is alone in the module of its name."""

_OPTION: Final = re.compile(r"--[a-z][a-z-]*=.*|\S*", re.DOTALL)
"""What begins with `--` and may be an option by its long name: with a value, or mistyped."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the command; exits with 0, 1 (it failed), 2 (wrong usage or configuration), 130 (Ctrl-C), 141 (nobody reads on) or
    what the command says."""
    try:
        status = _main(argv)
    except KeyboardInterrupt:  # before a command began, or after its end
        status = 130
    sys.exit(status)


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        import typer
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit('metlog: the command needs typer and rich: pip install "metlog[cli]"')
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # an 8-bit locale shows what it can
            stream.reconfigure(errors="replace")
    completing = any(name.endswith("_COMPLETE") for name in os.environ if name.startswith("_METLOG"))
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    if asked == "query":
        arguments = [_no_option(argument) for argument in arguments]
    from metlog.cli.terminal import guarded

    with guarded():
        return _run(_app(typer, None if completing else asked or ""), arguments, asked)


def _no_option(argument: str) -> str:
    """SQL that begins with a comment (`-- …`), with a blank before it, so that it is not taken for an option."""
    comment = argument.startswith("--") and _OPTION.fullmatch(argument) is None
    return f" {argument}" if comment else argument


def _app(typer: Any, asked: str | None) -> Any:
    """The application with the command that was asked for; of the others, or with "", only names and summaries. None: all of them."""
    app = typer.Typer(
        name="metlog",
        help="Structured events and metrics from Python services to storage that answers SQL.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def show_version(value: bool) -> None:  # typer's callback
        if value:
            from metlog import __version__

            print(f"metlog {__version__}")
            raise typer.Exit

    @app.callback()  # type: ignore[untyped-decorator]  # the module is given as a value
    def root(
        version: bool = typer.Option(  # typer reads the signature
            False, "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ) -> None:
        pass

    for command in _COMMANDS:
        function = _load(command.name) if asked in {command.name, None} else _placeholder(command.name)
        settings = {"allow_extra_args": True, "ignore_unknown_options": True} if command.takes_more else None
        kind = (
            _report_command() if command.takes_more and function is not None and asked in {command.name, None} else None
        )
        summary = None if asked == command.name else command.summary
        if isinstance(function, typer.Typer):  # a command with commands of its own
            app.add_typer(function, name=command.name, help=summary or command.summary)
            continue
        app.command(command.name, cls=kind, help=summary, context_settings=settings)(function)
    return app


def _load(name: str) -> Any:
    """The function of a command, or its Typer with commands of its own."""
    module = f"metlog.cli.{_MODULES.get(name, name)}"
    try:
        function = getattr(import_module(module), f"{name}_" if keyword.iskeyword(name) else name)
    except ModuleNotFoundError as error:
        if error.name == module:
            return _unavailable(f"metlog {name} is not part of this installation")
        extra = {"serve": "web", "bench": "bench"}.get(name, "listener")
        return _unavailable(f'metlog {name} needs {error.name}: pip install "metlog[{extra}]"')
    return function


def _report_command() -> Any:
    """The class of a command whose parameters are those of the report it is given; None where reports are not installed."""
    try:
        from metlog.cli.reporthelp import ReportCommand
    except ModuleNotFoundError:
        return None
    return ReportCommand


def _without_bool(command: Any) -> Any:
    """The command with flags that do not say `<bool>`: they take no value."""
    for part in (command, *getattr(command, "commands", {}).values()):
        if part is not command:
            _without_bool(part)
        of_help = part.get_help_option

        def help_option(ctx: Any, made: Callable[[Any], Any] = of_help) -> Any:
            option = made(ctx)
            if option is not None:
                option.metavar = ""
            return option

        part.get_help_option = help_option
        for parameter in part.params:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
    return command


def _unavailable(message: str) -> Callable[..., Any]:
    from metlog.cli.common import UsageError

    def tell() -> None:
        raise UsageError(message)

    return tell


def _placeholder(name: str) -> Callable[..., Any]:
    def command() -> None:
        raise AssertionError(f"{name} was not loaded")  # only the overview sees it

    return command


def _run(app: Any, arguments: list[str], asked: str | None) -> int:
    """Runs the command; every error is one line on standard error."""
    import typer

    from metlog.cli.common import UsageError, words_of
    from metlog.errors import ConfigError, MetlogError

    prefix = f"metlog {asked}" if any(command.name == asked for command in _COMMANDS) else "metlog"
    try:
        status = _without_bool(typer.main.get_command(app))(args=arguments, prog_name="metlog", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _unread()
    except SystemExit as leave:  # typer and rich end the process themselves where nobody reads on
        if isinstance(leave.__context__, BrokenPipeError):
            return _unread()
        raise
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (UsageError, ConfigError) as error:
        return _tell(prefix, str(error), 2)
    except MetlogError as error:
        if getattr(error, "kind", "") == "cancelled":  # by Ctrl-C
            return 130
        return _tell(prefix, str(error), 2 if getattr(error, "kind", "") in {"syntax", "refused"} else 1)
    except OSError as error:
        return _tell(prefix, words_of(error), 1)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: a wrong option, a missing argument
            message = error.format_message().replace("Value error, ", "")
            return _tell(prefix, f"{message} (see {prefix} --help)", 2) if str(error) else 2
        if os.environ.get("METLOG_TRACEBACK"):
            raise
        return _tell(
            prefix, f"{type(error).__name__}: {error} (a fault of metlog's; METLOG_TRACEBACK=1 shows where)", 1
        )
    return status if isinstance(status, int) else 0


def _unread() -> int:
    """`metlog query … | head`: the status of a process that SIGPIPE ended. The flush at exit would complain, so it goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if not stream.isatty():
            os.dup2(nowhere, stream.fileno())
    return 141


def _tell(prefix: str, message: str, status: int) -> int:
    sys.stdout.flush()
    print(f"{prefix}: {message}", file=sys.stderr)
    return status
