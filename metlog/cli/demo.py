"""`metlog demo`: the whole way in one process tree."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from metlog.cli.progress import working
from metlog.errors import MetlogError

__all__ = ["demo"]

_PORT: Final = 8565
_MARK: Final = ".metlog-demo"
"""File that says whose folder it is: the demo writes into no other."""
_PAGE: Final = f"http://127.0.0.1:{_PORT}"

_ANSWERS = (
    (
        "Requests by path",
        """SELECT fields->>'route' AS path, sum(weight)::BIGINT AS requests,
                  round(sum(weight * (fields->>'ms')::DOUBLE) / sum(weight), 2) AS "average ms"
           FROM events WHERE type = 'request' AND timestamp >= now() - INTERVAL 1 HOUR
           GROUP BY path ORDER BY requests DESC, path LIMIT 8""",
    ),
    (
        "Logins by minute",
        """SELECT strftime(date_trunc('minute', timestamp), '%H:%M') AS minute,
                  sum(weight) FILTER (fields->>'success' = 'true')::BIGINT AS logins,
                  sum(weight) FILTER (fields->>'success' = 'false')::BIGINT AS failures
           FROM events WHERE type = 'login' AND timestamp >= now() - INTERVAL 1 HOUR
           GROUP BY minute ORDER BY minute""",
    ),
    (
        "Unique users",
        """SELECT strftime(timestamp, '%Y-%m-%d') AS day, count(DISTINCT fields->>'user') AS users
           FROM events WHERE fields->>'user' <> '' AND timestamp >= now() - INTERVAL 1 HOUR
           GROUP BY day ORDER BY day""",
    ),
)


def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep the data here; a temporary folder by default, which stays.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.2, max=3600, help="How long the visitors come.")] = 5.0,
    days: Annotated[int, typer.Option(min=0, max=366, help="Fill that many days before today with sample data.")] = 0,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page on the data afterwards, until Ctrl-C.")
    ] = False,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster", help="With a Kafka broker, three listeners of which one is killed, and an S3 server."
        ),
    ] = False,
) -> None:
    """Run the whole way: a listener, a sample web application under traffic, and SQL answers to what happened."""
    signal.signal(signal.SIGTERM, _terminated)
    console = Console(highlight=False)
    if cluster:
        _cluster(console, data, max(seconds, 4.0), serve=serve)
        return
    folder = (data or Path(tempfile.mkdtemp(prefix="metlog-demo-"))).absolute()
    try:
        _claim(folder)
        lost = _run(console, folder, seconds, days)
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(130) from None
    except RuntimeError as error:
        typer.echo(f"metlog demo: {error}", err=True)
        raise typer.Exit(1) from None
    shown = f"--data {shlex.quote(str(folder))}"
    query, lost_query = '"SELECT type, sum(weight) FROM events GROUP BY type"', '"SELECT * FROM delivery"'
    for line in (
        f"\nThe data lies in {folder}",
        "Go on with:",
        f"  {_command()} query {query} {shown}",
        f"  {_command()} report request-times {shown} --chart -",
        f"  {_command()} query {lost_query} {shown}   # what was lost",
        *(() if serve else (f"  {_command()} serve {shown}   # the page, at {_PAGE}",)),
    ):
        console.print(line, soft_wrap=True, markup=False)
    if serve:
        _serve(console, folder)
    if lost:
        raise typer.Exit(1)


def _cluster(console: Console, data: Path | None, seconds: float, *, serve: bool) -> None:
    try:
        from metlog.demo.cluster import run

        wrong = run(console, data.absolute() if data is not None else None, seconds, serve=serve)
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(130) from None
    except ImportError as error:
        typer.echo(f'metlog demo: --cluster needs {error.name}: pip install "metlog[cluster]"', err=True)
        raise typer.Exit(1) from None
    except (OSError, RuntimeError, MetlogError) as error:
        typer.echo(f"metlog demo: {error}", err=True)
        raise typer.Exit(1) from None
    if wrong:
        raise typer.Exit(1)


def _terminated(*_: object) -> None:
    """Ends the command by its `finally` clauses, which end its processes."""
    raise SystemExit(128 + signal.SIGTERM)


def _claim(folder: Path) -> None:
    """Marks the folder as one of the demo's. Raises RuntimeError for one that holds anything else: sample events and real ones
    cannot be told apart again."""
    mark = folder / _MARK
    try:
        found = sorted(item.name for item in folder.iterdir())
    except FileNotFoundError:
        found = []
    if not mark.exists() and found:
        raise RuntimeError(
            f"{str(folder)!r} holds {', '.join(found[:3])}{' …' if len(found) > 3 else ''}, and is none of the demo's folders: "
            "give --data a new or empty folder"
        )
    from metlog.journal.folder import Folder
    from metlog.journal.inspect import listener_of

    for lock in folder.glob("**/lock"):
        with contextlib.closing(Folder.root(lock.parent)) as journal:
            pid = listener_of(journal)
        if pid is not None:
            raise RuntimeError(
                f"a listener (process {pid}) is running on {str(folder)!r}: end it, or give --data another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text("A data folder of `metlog demo`: what is in it is made up.\n", "utf-8")


def _run(console: Console, folder: Path, seconds: float, days: int) -> int:
    if days:
        from metlog.reports.sample import fill

        started = time.monotonic()
        with working(f"filling {days} days before today:") as tell:
            number = fill(folder, days + 1, progress=lambda done, of: tell(f"{done} of {of}", done, of))
        console.print(
            f"{number:,} sample events of {days} {'day' if days == 1 else 'days'} and today in {time.monotonic() - started:.1f} s"
        )
    from metlog.demo.visitors import Visitors
    from metlog.lake.query import Lake

    with contextlib.ExitStack() as stack:
        listener, addresses = stack.enter_context(_listener(folder))
        console.print(f"listener: process {listener.pid}, {addresses['udp']}, {addresses['statsd']}")
        app, port = stack.enter_context(_application(addresses))
        console.print(f"sample application: process {app.pid}, http://127.0.0.1:{port}")
        started_at = datetime.now(UTC)
        # Beside a month of data they are as many as an hour of it has, and not a spike at its end.
        visitors = Visitors(port, seconds=seconds, pause=0.1 if days else 0.0)
        visitors.start()
        _progress(console, seconds, visitors)
        visitors.join()
        _end(app)  # its client sends the rest and the end of its stream
        with Lake(folder) as lake:
            sent, received, lost = _counted(lake, started_at)
        _end(listener)
    console.print(
        f"\nevents sent {sent:,}, received {received:,}, lost [bold]{lost:,}[/bold]; requests {visitors.served:,}"
    )
    with Lake(folder) as lake:
        if days:
            _charts(console, lake, days)
            return lost
        for title, sql in _ANSWERS:
            result = lake.query(sql)
            table = Table(title=title, title_justify="left", title_style="bold")
            for column in result.columns:
                table.add_column(column.name, justify="left" if column.type == "VARCHAR" else "right")
            for row in result.rows:
                table.add_row(*("" if value is None else str(value) for value in row))
            console.print()
            console.print(table)
    return lost


def _charts(console: Console, lake: Any, days: int) -> None:
    """Some reports over the days that were filled."""
    from metlog.reports import Library
    from metlog.reports.charts.terminal import lines

    library = Library()
    for name, since in (("unique-users", days), ("logins", days), ("request-times", min(days, 7))):
        report = library[name]
        console.print()
        for line in lines(report, report.run(lake, {"since": f"{since}d"}), min(console.width, 100)):
            console.print(line, soft_wrap=True)


def _serve(console: Console, folder: Path) -> None:
    """The page, until Ctrl-C; opened in a browser where there is a display."""
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", _PORT)) == 0
    with _child("metlog", "serve", "--data", str(folder), "--port", "0" if taken else str(_PORT)) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:  # it has said why
            raise typer.Exit(process.wait())
        console.print(f"\n{line}; Ctrl-C ends it", soft_wrap=True)
        if console.is_terminal and (
            sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
        ):
            import webbrowser

            webbrowser.open(line.split()[-1])
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()


def _counted(lake: Any, since: datetime) -> tuple[int, int, int]:
    """Events sent (by the end of the stream), received and lost, once the listener has all of them."""
    sql = """  -- the stream is whole when every seq from 1 to that of its end record is there
        SELECT coalesce(max(seq) FILTER (type = 'metlog.end'), 0) AS sent, count(DISTINCT seq) AS received,
               max(seq) AS last
        FROM events WHERE logger = 'shop' AND stream <> '' AND timestamp >= $since"""
    deadline = time.monotonic() + 5
    while True:
        sent, received, last = lake.query(sql, {"since": since}).rows[0]
        sent = sent or (last or 0) + 1  # without its end record the tail is lost at least
        if received >= sent or time.monotonic() > deadline:
            return sent, received, sent - received
        time.sleep(0.05)


def _progress(console: Console, seconds: float, visitors: Any) -> None:
    started = time.monotonic()
    if not console.is_terminal:
        console.print(f"visitors come for {seconds:g} s …")
        time.sleep(seconds)
        return
    columns = (
        TextColumn("visitors"),
        BarColumn(),
        TextColumn("{task.fields[served]:,} requests"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds, served=0)
        while (elapsed := time.monotonic() - started) < seconds:
            progress.update(task, completed=elapsed, served=visitors.served)
            time.sleep(0.1)


@contextlib.contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True, env=_environment()
    )
    try:
        yield process
    finally:
        _end(process)


def _environment() -> dict[str, str]:
    """Without the METLOG_ variables, which are the reader's own set-up."""
    return {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def _listener(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    arguments = ("metlog", "listen", "--data", str(folder), "--udp", "127.0.0.1:0", "--statsd", "127.0.0.1:0")
    with _child(*arguments) as process:
        addresses: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready"):
                yield process, addresses
                return
            address = line.split()[-1]
            addresses[address.split(":", 1)[0]] = address
        raise RuntimeError("the listener did not start; what it said is above")


@contextlib.contextmanager
def _application(addresses: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    statsd = addresses["statsd"].rsplit(":", 1)[-1]
    with _child("metlog.demo.app", addresses["udp"], statsd) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the sample application did not start; what it said is above")
        yield process, int(line)


def _command() -> str:
    beside = Path(sys.executable).with_name("metlog")
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return "metlog"
