"""`metlog tail`: events as they arrive."""

from __future__ import annotations

import json
import sys
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from metlog.cli._plain import plain
from metlog.cli.common import DataOption, data_folder, fail

__all__ = ["tail"]


class TailFormat(StrEnum):
    """How an event is written."""

    text = "text"
    json = "json"


def tail(
    data: DataOption = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only events of this type.")] = None,
    number: Annotated[int | None, typer.Option("-n", min=1, help="End after so many events.")] = None,
    form: Annotated[
        TailFormat, typer.Option("--format", help="Text for people, or JSON, one event a line.")
    ] = TailFormat.text,
) -> None:
    """Follow events as they arrive, until Ctrl-C; each exactly once."""
    from metlog.journal.follow import Follower

    folder = data_folder(data)
    if not folder.is_dir():
        fail(
            "tail",
            f"there is no data folder {str(folder)!r}; start `metlog listen`, or give --data; `metlog doctor` looks for what is wrong",
        )
    follower = Follower(folder)
    shown = 0
    try:
        follower.read()  # from here on
        typer.echo(f"following {folder}", err=True)
        while True:
            for event in follower.read():
                if types and event["type"] not in types:
                    continue
                print(json.dumps(plain(event), ensure_ascii=False) if form is TailFormat.json else _text(event))
                shown += 1
                if number is not None and shown >= number:
                    return
            sys.stdout.flush()
            time.sleep(0.1)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        fail("tail", error)


def _text(event: dict[str, Any]) -> str:
    fields = event.get("fields") or ""
    text = fields if isinstance(fields, str) else json.dumps(plain(fields), ensure_ascii=False)
    line = (
        f"{plain(event['timestamp'])} {event['severity']} {event['logger'] or '-'} {event['type']} {event['payload']}"
    )
    line = f"{line} {text}" if text not in {"", "{}"} else line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
