"""`metlog journal`: what an operator wants to know of a journal, and to do with it, when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from metlog.cli.common import DataOption, UsageError, existing_data_folder, open_output
from metlog.cli.output import print_table
from metlog.cli.progress import working
from metlog.journal import inspect as inspection
from metlog.journal import repair as mending
from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.follow import events_of
from metlog.journal.inspect import Backlog, CheckedSegment, JournalState
from metlog.journal.segment import Clock, Record, Scan, read_header
from metlog.lake.shown import plural, size
from metlog.lake.values import Column

__all__ = ["journal"]

journal = typer.Typer(
    help="Looks into a listener's journal, checks it, writes its events as JSON, mends it.", no_args_is_help=True
)

NameOption = Annotated[
    str | None, typer.Option("--journal", metavar="NAME", help="Only this one; listener.journal of the configuration.")
]


class _Format(StrEnum):
    text = "text"
    json = "json"


FormatOption = Annotated[_Format, typer.Option("--format", "-f", help="Text for people, or JSON.")]


@journal.command()
def status(data: DataOption = None, name: NameOption = None, form: FormatOption = _Format.text) -> None:
    """What the journal holds, who writes it, and which output is how far behind."""
    with _opened(data, name) as (folder, found):
        looks = [inspection.look(folder, each, one) for each, one in found]
    if form is _Format.json:
        typer.echo(msgspec.json.encode(looks, enc_hook=str))
        return
    for look in looks:
        _show(look)


def _show(look: JournalState) -> None:
    running = look.status if look.listener is not None else {}
    typer.echo(f"journal {look.name} in {look.path}")
    typer.echo(f"  listener    {'does not run' if look.listener is None else f'runs, process {look.listener}'}")
    live = sum(segment.open for segment in look.segments)
    span = f", the oldest of {look.segments[0].written_at:%Y-%m-%d %H:%M:%S} UTC" if look.segments else ""
    typer.echo(
        f"  holds       {size(look.bytes)} in {plural(len(look.segments) - live, 'sealed segment')} and {live} open{span}"
    )
    typer.echo(f"  disk        {size(look.free)} free")
    if refuses := (running.get("journal") or {}).get("refuses"):
        typer.echo(f"  refuses     {refuses}")
    if look.quarantined:
        typer.echo(
            f"  quarantine  {plural(look.quarantined, 'file')}, {size(look.quarantined_bytes)}: read by nobody, safe to delete"
        )
    outputs = running.get("outputs") or {}
    columns = [Column(n, t) for n, t in _COLUMNS]
    print_table(columns, [_row(item, outputs.get(item.output) or {}, look) for item in look.outputs])


_COLUMNS = (
    ("output", "VARCHAR"),
    ("to", "VARCHAR"),
    ("segment", "BIGINT"),
    ("offset", "BIGINT"),
    ("behind", "VARCHAR"),
    ("told", "VARCHAR"),
)


def _row(item: Backlog, told: dict[str, Any], look: JournalState) -> tuple[Any, ...]:
    behind = f"{plural(item.segments, 'segment')}, {size(item.bytes)}" if item.segments else "nothing"
    if item.damaged:
        remark = "its cursor is damaged: it begins at the oldest segment"
    elif told.get("error"):
        remark = str(told["error"])
    elif look.listener is not None and look.status and item.output not in (look.status.get("outputs") or {}):
        remark = "not in the configuration: holds nothing back"
    elif item.by_segment and item.segments:
        remark = "takes segments when they are sealed"
    else:
        remark = ""
    return item.output, told.get("describe", ""), item.at.number, item.at.offset, behind, remark


@journal.command()
def check(data: DataOption = None, name: NameOption = None, form: FormatOption = _Format.text) -> None:
    """Read every record and verify it; exit 1 when something is damaged that is not in quarantine yet. Nothing is changed."""
    checked: list[tuple[str, list[CheckedSegment], list[str]]] = []
    with _opened(data, name) as (_, found), working("checking") as tell:
        for each, one in found:
            tell(each, 0, 0)
            running = inspection.listener_of(one) is not None
            checked.append(
                (each, list(inspection.check(one, running=running)), inspection.strangers(one, running=running))
            )
    if form is _Format.json:
        facts = [{"journal": each, "segments": items, "wrong": wrong} for each, items, wrong in checked]
        typer.echo(msgspec.json.encode(facts, enc_hook=str))
    else:
        for each, items, wrong in checked:
            _show_checked(each, items, wrong)
    if any(wrong or any(item.damaged != item.kept or item.unreadable for item in items) for _, items, wrong in checked):
        raise typer.Exit(1)


def _show_checked(name: str, items: list[CheckedSegment], wrong: list[str]) -> None:
    columns = [Column(n, t) for n, t in (
        ("segment", "VARCHAR"), ("records", "BIGINT"), ("events", "BIGINT"), ("bytes", "BIGINT"), ("damaged", "VARCHAR"),
    )]  # fmt: skip
    rows = [(item.segment.file, item.records, item.events, item.segment.bytes, _wrong_in(item)) for item in items]
    total = sum(item.events for item in items)
    print_table(
        columns, rows, title=f"journal {name}", caption=f"{plural(total, 'event')} in {plural(len(items), 'segment')}"
    )
    for line in wrong:
        typer.echo(f"  {line}")


def _wrong_in(item: CheckedSegment) -> str:
    texts = [
        f"{end - start} bytes at {start}{' (in quarantine)' * ((start, end) in item.kept)}"
        for start, end in item.damaged
    ]
    if item.unreadable:
        texts.append(f"{plural(item.unreadable, 'event')} that this release cannot read")
    return ", ".join(texts)


@journal.command()
def export(
    data: DataOption = None,
    name: NameOption = None,
    segment: Annotated[list[str] | None, typer.Option("--segment", help="Only this one; may be repeated.")] = None,
    behind: Annotated[
        str, typer.Option("--behind", metavar="OUTPUT", help="Only what this output takes and has not handed on.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", help="A segment's file somewhere else, such as one of the quarantine.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Instead of standard output.")
    ] = None,
) -> None:
    """Write the events of the journal as JSON, one a line, with received_at and source.

    The input http of a listener takes these lines:
    metlog journal export --behind lake | curl --data-binary @- http://127.0.0.1:5580/submit/again
    """
    if file and (segment or behind):
        raise UsageError("--file: names the one segment that is exported; leave out --segment and --behind")
    count = 0
    with open_output(output) as target, working("writing") as tell:
        for record, clock, cursor, skip in _from_file(file) if file else _exported(data, name, segment or [], behind):
            for event in events_of(record, clock, skip=skip, route=cursor.route):
                target.write(msgspec.json.encode(event) + b"\n")
                count += 1
                if count % 10_000 == 0:
                    tell(f"{count:,} events", 0, 0)
    print(f"{plural(count, 'event')} written", file=sys.stderr)


Exported = Iterator[tuple[Record, Clock, Cursor, int]]


def _exported(data: Path | None, name: str | None, only: list[str], behind: str) -> Exported:
    with _opened(data, name) as (_, found):
        for _, one in found:
            try:
                for entry, cursor in inspection.entries(one, only, behind, _left_out):
                    here = Position(entry.segment.number, entry.record.offset)
                    skip = cursor.at.skip if here == Position(cursor.at.number, cursor.at.offset) else 0
                    yield entry.record, entry.clock, cursor, skip
            except LookupError as error:
                raise UsageError(str(error.args[0])) from None


def _from_file(path: Path) -> Exported:
    content = path.read_bytes()
    found, clock = Scan(content), read_header(content)
    record = None
    for record in found:
        yield record, clock, Cursor(""), 0
    headless = not content or (found.damaged and found.damaged[0][0] == 0)
    if record is None and headless:
        raise UsageError(f"{path}: is no segment of a journal")
    for start, end in found.damaged:
        _left_out(str(path), start, end - start)


def _left_out(file: str, start: int, size: int) -> None:
    print(f"{file}: {plural(size, 'byte')} at {start} are damaged and left out", file=sys.stderr)


@journal.command()
def repair(
    data: DataOption = None,
    name: NameOption = None,
    aside: Annotated[
        list[str] | None,
        typer.Option(
            "--set-aside", metavar="SEGMENT", help="Move this segment out of every output's way; may be repeated."
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, the plan is shown.")] = False,
) -> None:
    """Show what would mend a journal whose listener does not run, and with --apply do it. Nothing is ever deleted."""
    steps = 0
    with _opened(data, name) as (_, found):
        for each, one in found:
            with mending.held(one):
                try:
                    planned = mending.plan(one, aside or [])
                except LookupError as error:
                    raise UsageError(str(error.args[0])) from None
                for step in planned:
                    typer.echo(f"journal {each}: {step.what}")
                    if apply:
                        step.do()
                steps += len(planned)
    if not steps:
        typer.echo("nothing to mend")
    elif not apply:
        typer.echo("nothing was done: --apply does it")


@contextmanager
def _opened(data: Path | None, name: str | None) -> Iterator[tuple[Folder, Iterator[tuple[str, Folder]]]]:
    folder = existing_data_folder(data)
    with Folder.root(folder) as root:
        try:
            yield root, inspection.journals(root, name)
        except FileNotFoundError as error:
            if name is not None and error.filename == name:
                raise UsageError(f"--journal {name!r}: there is no such journal in {folder}") from None
            if error.filename == "journal":
                raise UsageError(f"{folder} holds no journal: no listener has run with it") from None
            raise
