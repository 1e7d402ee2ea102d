"""`metlog compact`, `expire`, `forget`, `import`: upkeep of a data folder, with a listener at work there or without."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from metlog.cli.common import DataOption, UsageError, existing_data_folder
from metlog.cli.progress import working
from metlog.cli.words import columns_for_shell
from metlog.errors import MetlogError
from metlog.lake.replacing import ReadersHold
from metlog.lake.shown import plural, size
from metlog.plugins.conversion import age

__all__ = ["compact", "expire", "forget", "import_"]

_DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; without a terminal nothing is asked.")]
_Level = Annotated[int, typer.Option(min=1, max=19, help="zstd's compression level of what is written.")]


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ReadersHold as error:
        raise MetlogError(str(error)) from None


def _confirmed(question: str, yes: bool) -> None:
    if not yes and sys.stdin.isatty() and not typer.confirm(question):
        raise typer.Abort


def _age(text: str) -> timedelta:
    try:
        return timedelta(seconds=age(text))
    except ValueError as error:
        raise UsageError(f"--older-than {text!r}: {error}") from None


def compact(
    data: DataOption = None,
    target_mb: Annotated[int, typer.Option(min=1, help="Size of a merged file, about, in MB.")] = 128,
    fewest: Annotated[int, typer.Option(min=2, help="Merge a day only if it has at least this many small files.")] = 4,
    level: _Level = 3,
    dry_run: _DryRun = False,
) -> None:
    """Merge a day's small Parquet files into large ones. Queries that run or start meanwhile see each event once."""
    from metlog.lake.upkeep.compact import compact as run

    folder = existing_data_folder(data)
    with _told(), working("merging") as progress:
        done = run(folder, target=target_mb << 20, fewest=fewest, level=level, dry_run=dry_run, progress=progress)
    verb = "would be merged" if dry_run else "merged"
    if not done.days:
        print("nothing to merge")
        return
    sizes = "" if dry_run else f", {size(done.bytes_before)} into {size(done.bytes_after)}"
    print(f"{verb}: {plural(done.files_before, 'file')} into {done.files_after} on {plural(done.days, 'day')}{sizes}")


def expire(
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than", metavar="AGE", help="Remove files whose newest event is older than this, such as 90d."
        ),
    ],
    type: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="T",
            help="Only events of this type; `name.*` matches a prefix.",
            autocompletion=columns_for_shell("type"),
        ),
    ] = None,
    data: DataOption = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
) -> None:
    """Remove old events. What went is written to upkeep.ndjson in the data folder."""
    from metlog.lake.upkeep.expire import expire as run

    folder, age = existing_data_folder(data), _age(older_than)
    with _told():
        if not dry_run and not yes and sys.stdin.isatty():
            would = run(folder, age, types=type or (), dry_run=True)
            _confirmed(f"Remove {plural(would.events, 'event')} of {plural(len(would.days), 'day')}?", yes)
        with working("removing") as progress:
            done = run(folder, age, types=type or (), dry_run=dry_run, progress=progress)
    if not done.events:
        print(f"nothing is older than {older_than}")
        return
    verb = "would be removed" if dry_run else "removed"
    span = done.days[0] if len(done.days) == 1 else f"{done.days[0]} to {done.days[-1]}"
    files = f"{plural(done.files, 'file')}, {plural(done.rewritten, 'file')} rewritten, {size(done.bytes)}"
    print(f"{verb}: {plural(done.events, 'event')} of {span}: {files}")


def forget(
    where: Annotated[str, typer.Option("--where", metavar="SQL", help="A condition over the columns of `events`.")],
    file: Annotated[
        list[Path] | None, typer.Option("--file", help="An NDJSON file that an output `file` wrote, to be cleaned too.")
    ] = None,
    data: DataOption = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
) -> None:
    """Remove a person's events from Parquet, journal and dead letters, and prove by a query that none is left.

    Example: metlog forget --where "fields->>'user' = 'u17'"
    """
    from metlog.lake.upkeep.forget import check_condition
    from metlog.lake.upkeep.forget import forget as run

    folder = existing_data_folder(data)
    check_condition(where)
    for path in file or ():
        if not path.is_file():
            raise UsageError(f"--file {str(path)!r}: is no file")
    with _told():
        if not dry_run and not yes and sys.stdin.isatty():
            would = run(folder, where, files=file or (), dry_run=True)
            _confirmed(f"Remove {plural(would.total, 'event')} for good?", yes)
        with working("removing") as progress:
            done = run(folder, where, files=file or (), dry_run=dry_run, progress=progress)
    verb = "would be removed" if dry_run else "removed"
    print(
        f"{verb}: {done.parquet:,} from Parquet, {done.journal:,} from the journal, "
        f"{plural(done.dead_letters, 'dead letter')}, {plural(done.files, 'line')} of files"
    )
    if not dry_run:
        if done.left:
            raise MetlogError(f"{done.left:,} are still found: new ones keep coming; run this again")
        print("a query finds none of them any more")


def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="NDJSON, a JSON array, Parquet; with gzip as well.")
    ],
    data: DataOption = None,
    type: Annotated[str, typer.Option(help="Type for records that are no metlog events.")] = "import",
    logger: Annotated[str, typer.Option(help="Service name (`logger`) for those events.")] = "",
    time: Annotated[
        str,
        typer.Option(metavar="NAME", help="Member that holds their time; timestamp, time, eventTime, … unless given."),
    ] = "",
    payload: Annotated[str, typer.Option(metavar="NAME", help="Member that becomes their payload.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="End at the first record that is no event.")] = False,
    dry_run: _DryRun = False,
) -> None:
    """Bring events from files into the data folder. Each file's events come once, however often it is imported; a killed import goes on."""
    from metlog.cli.common import data_folder
    from metlog.journal.folder import Folder
    from metlog.lake.upkeep.importing import Names, examine_file, import_file

    folder = data_folder(data)
    for path in files:
        if not path.is_file():
            raise UsageError(f"{str(path)!r}: is no file")
    if not dry_run:
        Folder.root(folder, create=True).close()
    names = Names(type=type, logger=logger, time=time, payload=payload)
    skipped = 0
    for path in files:
        with working("importing") as progress:
            bring = examine_file if dry_run else import_file
            done = bring(folder, path, mapping=names, strict=strict, progress=progress)
        if done.already:
            print(f"{path}: imported before, left out")
            continue
        skipped += done.skipped
        more = f", {plural(done.skipped, 'record')} left out; the first: {done.first_fault}" if done.skipped else ""
        print(f"{path}: {plural(done.events, 'event')}{' would be imported' if dry_run else ''}{more}")
    if skipped:
        raise typer.Exit(1)
