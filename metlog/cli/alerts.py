"""`metlog alerts`: the alerts of a data folder with their states; one evaluated once, and told as a test."""

from __future__ import annotations

import copy
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from metlog.cli.common import DataOption, UsageError, data_folder, existing_data_folder
from metlog.cli.engine import EngineOption, opened
from metlog.cli.output import print_table
from metlog.cli.terminal import legible
from metlog.config.sources import LISTENER_KEYS
from metlog.errors import ConfigError, Problems

if TYPE_CHECKING:
    from metlog.alerts.config import AlertSettings, Prepared
    from metlog.alerts.readings import Reading
    from metlog.alerts.states import State
    from metlog.plugins import Component

__all__ = ["alerts"]

_OF_ALERTS: Final = frozenset({"alerts", "alerting"})

alerts = typer.Typer(invoke_without_command=True)


@alerts.callback()
def show(
    context: typer.Context,
    data: DataOption = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Folder of the states, where `alerting.state` names one."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List alerts with their states. `metlog alerts test` evaluates them once."""
    if context.invoked_subcommand is not None:
        return
    import msgspec

    from metlog.alerts.states import FOLDER, kept_in
    from metlog.lake.values import Column

    found = kept_in(state or existing_data_folder(data) / FOLDER)
    if as_json:
        told = [{"runner": kept.runner, "about": item.about, **item.told()} for kept in found for item in kept.alerts]
        print(msgspec.json.format(msgspec.json.encode(told), indent=1).decode())
        return
    rows = [
        (
            item.name, "fires" if item.alarm and item.state == "firing" else f"{item.state}{', fires' if item.alarm else ''}",
            _moment(item.since), item.value, item.about, _moment(item.evaluated_at), kept.runner, item.told()["error"],
        )
        for kept in found
        for item in kept.alerts
    ]  # fmt: skip
    names = ("alert", "state", "since", "value", "condition", "evaluated", "runs in", "error")
    print_table([Column(name, "VARCHAR") for name in names], rows, caption="All times are UTC.")


@alerts.command("test")
def evaluate(
    name: Annotated[str | None, typer.Argument(help="Which; all of them when left out.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Configuration of the listener or the page, with \\[\\[alerts]]."
        ),
    ] = None,
    data: DataOption = None,
    send: Annotated[bool, typer.Option("--send", help="Tell every target a notice that is marked as a test.")] = False,
    engine: EngineOption = None,
) -> None:
    """Evaluate alerts once and show value, state, and what would be told to whom; no state is changed. Exits with 1 when a query or a
    target fails."""
    from metlog.alerts.readings import read
    from metlog.alerts.runner import state_folder
    from metlog.alerts.states import State, kept_in
    from metlog.lake.cancel import Cancel
    from metlog.reports import Library

    if config is None:
        raise UsageError("--config FILE is needed: the configuration of the listener or the page, with [[alerts]]")
    settings, folder = _settings(config, data)
    chosen = [item for item in settings.alerts if name in {None, item.name}]
    if not chosen:
        there = ", ".join(item.name for item in settings.alerts) or "none"
        raise UsageError(f"{name or config}: there is no such alert; there is {there}")
    states = {item.name: item for kept in kept_in(state_folder(settings, folder)) for item in kept.alerts}
    failed = False
    with opened(engine or settings.alerting.engine or None, folder, timeout=settings.alerting.timeout) as source:
        for item in chosen:
            reading = read(item, source, Library(folder), settings.alerting.timeout, Cancel(), datetime.now(UTC))
            failed |= _tell(item, reading, states.get(item.name) or State(name=item.name), send=send)
    if failed:
        raise typer.Exit(1)


def _settings(config: Path, data: Path | None) -> tuple[AlertSettings, Path]:
    """The alerts of a file, and the data folder: what is given, else what the file says."""
    from metlog.alerts.config import alerts_of

    try:
        table = tomllib.loads(config.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{config}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config}: {error}") from error
    listener = table.get("listener", {})
    said = listener.get("data") if isinstance(listener, dict) else None
    folder = existing_data_folder(data) if data is not None or said is None else data_folder(Path(str(said)))
    problems = Problems()
    of_page = bool(set(table) - _OF_ALERTS) and not LISTENER_KEYS & set(table)
    found = alerts_of(table, folder, problems, in_listener=not of_page)
    if problems.lines:
        raise ConfigError([f"{config}: {line}" for line in problems.lines])
    return found, folder


def _tell(item: Prepared, reading: Reading, state: State, *, send: bool) -> bool:
    """Prints what was found; returns whether something failed."""
    import msgspec

    from metlog.alerts.runner import tell_once
    from metlog.alerts.states import advance, notice_of

    now = time.time()
    words = {
        "met": "the condition holds",
        "clear": "the condition does not hold",
        "missing": "no data",
        "failed": "the query failed",
    }
    _say(f"{item.name}: {words[reading.outcome]}{f': {reading.error}' if reading.error else ''}")
    _say(f"  condition  {item.about}")
    _say(
        f"  value      {'none' if reading.value is None else f'{reading.value:,.6g}'}{f' of {reading.row}' if reading.row else ''}"
    )
    _say(
        f"  state      {state.state}{f' since {_moment(state.since)}' if state.since else ''}{', fires' if state.alarm else ''}"
    )
    moved = copy.deepcopy(state)
    notice = advance(moved, item, reading, now)
    would = "nothing" if notice is None else f"{notice.kind}: {notice.text}"
    _say(f"  after it   {moved.state}{', fires' if moved.alarm else ''}; would be told: {would}")
    if not item.targets:
        _say(
            "  to         nobody: the alert has no targets; its state is on the page, in `metlog alerts` and in /metrics"
        )
    failed = reading.outcome == "failed"
    if not send:
        for component in item.targets:
            _say(f"  to         {component.build().describe() or component.name}")
        return failed
    moved.notices += 1
    test = notice_of(moved, item, "firing", now, moved.bad_since or now, test=True)
    test = type(test)(**{**_members(test), "id": f"test-{item.name}-{int(now * 1000)}", "text": f"Test: {test.text}"})
    tried = []
    for component in item.targets:
        if _needs_listener(component):
            _say(f"  to         {component.name}: not tried; it is the listener itself that takes the event")
        else:
            tried.append(component)
    for target, error in tell_once(msgspec.structs.replace(item, targets=tuple(tried)), test):
        _say(f"  to         {target}: {f'failed: {error}' if error else 'told, marked as a test'}")
        failed |= bool(error)
    return failed


def _needs_listener(component: Component) -> bool:
    """Whether the target hands its event to the listener that runs in the same process."""
    try:
        component.build().bind(None)
    except ValueError:
        return True
    return False


def _members(notice: Any) -> dict[str, Any]:
    return {name: getattr(notice, name) for name in notice.__struct_fields__}


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" if seconds else ""


def _say(line: str) -> None:
    typer.echo(legible(line))
