"""`metlog send`: events from the shell."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from metlog.cli._pace import Pace
from metlog.cli.common import fail
from metlog.event import severity_from

if TYPE_CHECKING:
    from metlog import MetlogClient, Stats

__all__ = ["send"]

_PATIENCE: Final = 2.0
"""Seconds after which the command says that it waits."""
_REFUSAL: Final = 0.02  # seconds: when a refusal of the last datagram has come, from a host that is near


def send(
    message: Annotated[str | None, typer.Argument(help="The payload; without it every line of standard input.")] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Sender as a URL; else what METLOG_CONFIG and METLOG_SENDER say, else udp://127.0.0.1:5565."
        ),
    ] = None,
    token: Annotated[list[str] | None, typer.Option("--token", help="Classify it; the first is the type.")] = None,
    field: Annotated[
        list[str] | None, typer.Option("--field", metavar="KEY=VALUE", help="A field; JSON or text.")
    ] = None,
    logger: Annotated[
        str | None, typer.Option(help="Which service it comes from; METLOG_LOGGER, else shell.", show_default=False)
    ] = None,
    severity: Annotated[
        str, typer.Option(metavar="SEVERITY", help="0 (emergency) to 7 (debug), or its name, as error.")
    ] = "info",
    as_json: Annotated[bool, typer.Option("--json", help="Lines are JSON objects: they become the fields.")] = False,
) -> None:
    """Send one event, or one for each line of standard input; exit 1 when one was lost on the way out, or refused there."""
    from metlog import ConfigError, MetlogClient

    fields = dict(_field(text) for text in field or ())
    level = severity_from(severity)
    if level is None or not 0 <= level <= 7:
        fail("send", f"--severity {severity!r}: wants 0 (emergency) to 7 (debug), or its name, as error", 2)
    try:
        client = MetlogClient.from_config(_settings(to, logger))
    except ConfigError as error:
        fail("send", error, 2)
    tokens = tuple(token or ("message",))
    bad = 0
    if message is not None:
        client.log(tokens, message, severity=level, fields=fields)
    else:
        with Pace(client) as pace:
            for number, line in enumerate(sys.stdin.buffer, 1):
                pace.line(len(line))
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                if not as_json:
                    client.log(tokens, text, severity=level, fields=fields)
                    continue
                try:
                    found = json.loads(text)
                    if not isinstance(found, dict):
                        raise ValueError("not an object")
                except (ValueError, RecursionError) as error:
                    bad += 1
                    typer.echo(f"metlog send: line {number}: {error}", err=True)
                    continue
                client.log(tokens, severity=level, fields={**fields, **found})
    stats = _finish(client)
    refused = stats.transport.get("refused", 0)
    if message is None:
        typer.echo(f"{stats.sent} events sent", err=True)
    if refused:
        how_many = "every datagram" if refused >= stats.frames else f"{refused} of {stats.frames} datagrams"
        fail("send", f"{how_many} was refused: nobody takes events there; `metlog doctor` looks for the reason")
    lost = stats.accepted - stats.sent
    if lost:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(stats.dropped.items()))
        events = "1 event was" if lost == 1 else f"{lost} events were"
        fail("send", f"{events} not sent ({reasons}); `metlog doctor` looks for the reason")
    if bad:
        raise typer.Exit(1)


def _finish(client: MetlogClient) -> Stats:
    """Sends the rest, and hears what the peer's host says to it."""
    if not client.flush(_PATIENCE):
        typer.echo("metlog send: not taken yet; the sender goes on trying, until it gives up by itself", err=True)
    while not client.flush(60):  # each sender gives up in its own time
        pass
    time.sleep(_REFUSAL)
    client.close(2)
    return client.stats()


def _settings(to: str | None, logger: str | None) -> dict[str, Any]:
    """What the environment says, filters included, and before it what the command line says; no statsd."""
    from metlog.config.sources import gather

    given = {key: value for key, value in (("sender", to), ("logger", logger)) if value}
    return {"logger": "shell", **gather(), **given, "statsd": False}


def _field(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        fail("send", f"--field {text!r}: wants KEY=VALUE", 2)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
