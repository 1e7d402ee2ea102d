"""`metlog tail`: events as they arrive."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from metlog.cli.common import DataOption, UsageError, data_folder, fail
from metlog.cli.words import columns_for_shell
from metlog.core.terminal import is_terminal, wants_no_colour
from metlog.encoders.text import COLOURS
from metlog.event import Severity

__all__ = ["tail"]


class TailFormat(StrEnum):
    """How an event is written."""

    text = "text"
    json = "json"


def tail(
    data: DataOption = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only events of this type.", autocompletion=columns_for_shell("type")),
    ] = None,
    logger: Annotated[
        str, typer.Option(help="Only events of this service.", autocompletion=columns_for_shell("logger"))
    ] = "",
    severity: Annotated[
        str, typer.Option(metavar="SEVERITY", help="Only this severity or worse: 0 to 7, or a name as warning.")
    ] = "",
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="CONDITION",
            help="As user=u1, status>=500, route~/cart (contains), user (is there), !user=u1.",
        ),
    ] = None,
    number: Annotated[int | None, typer.Option("-n", min=1, help="End after so many events.")] = None,
    form: Annotated[
        TailFormat, typer.Option("--format", help="Text for people, or JSON, one event a line.")
    ] = TailFormat.text,
) -> None:
    """Follow events as they arrive, until Ctrl-C; each exactly once. Conditions hold together, and are those of the page's live tail.

    Example: metlog tail --severity warning --field "status>=500"
    """
    from metlog.journal.follow import Follower
    from metlog.lake.export import encode
    from metlog.lake.values import as_json
    from metlog.web.conditions import Search
    from metlog.web.errors import Refused

    try:
        search = Search.parse([("logger", logger), ("severity", severity), *(("field", text) for text in field or ())])
    except Refused as error:
        raise UsageError(f"--{error}") from None
    folder = data_folder(data)
    if not folder.is_dir():
        raise UsageError(
            f"there is no data folder {str(folder)!r}; start `metlog listen`, or give --data; `metlog doctor` looks for what is wrong"
        )
    follower = Follower(folder)
    shown = 0
    try:
        follower.read()  # from here on
        typer.echo(f"following {folder}", err=True)
        colors = is_terminal(sys.stdout) and not wants_no_colour()
        while True:
            for event in follower.read():
                if (types and event["type"] not in types) or not search.takes(event):
                    continue
                print(encode(as_json(event)).decode() if form is TailFormat.json else _text(event, colors))
                shown += 1
                if number is not None and shown >= number:
                    return
            sys.stdout.flush()
            time.sleep(0.1)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        fail("tail", error)
    finally:
        follower.close()


def _text(event: dict[str, Any], colors: bool = False) -> str:
    from metlog.lake.export import encode
    from metlog.lake.values import as_json

    fields = event.get("fields") or ""
    text = fields if isinstance(fields, str) else encode(as_json(fields)).decode()
    name = Severity(event["severity"]).name.lower()
    after = f"{event['logger'] or '-'} {event['type']} {event['payload']}"
    after = _printable(f"{after} {text}" if text not in {"", "{}"} else after)
    level = f"\x1b[{COLOURS[event['severity']]}m{name:<13}\x1b[0m" if colors else f"{name:<13}"
    return f"{as_json(event['timestamp'])} {level} {after}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
