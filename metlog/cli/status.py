"""`metlog status`: what the listener, its inputs, outputs, journal and disk do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from metlog.cli.common import DataOption, existing_data_folder

__all__ = ["status"]


def status(
    data: DataOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Say what each input, output and segment is doing, what was lost, and when the disk is full. Exits with 1 when something is wrong."""
    import msgspec

    from metlog.listener.overview import overview, told

    folder = existing_data_folder(data)
    while True:
        found = [overview(folder, name=name) for name in told(folder)]
        if as_json:
            shown = msgspec.json.encode(found[0] if len(found) == 1 else found)
            print(msgspec.json.format(shown, indent=2 if not watch else 0).decode())
        else:
            if watch and sys.stdout.isatty():
                print("\x1b[2J\x1b[H", end="")
            for each in found:
                for line in _lines(each):
                    print(line)
        sys.stdout.flush()
        if not watch:
            raise typer.Exit(1 if any(each.problems for each in found) else 0)
        time.sleep(2)


_SHOWN: Final = 6
"""Segments that are shown one by one."""


def _segments(segments: list[dict[str, Any]]) -> Iterator[str]:
    from metlog.lake.shown import size

    for segment in segments[:_SHOWN]:
        state = "is written" if segment["open"] else "sealed"
        waits = f", waits for {', '.join(segment['waits_for'])}" if segment["waits_for"] and not segment["open"] else ""
        since = f"{segment['written_at']:%Y-%m-%d %H:%M:%S}"
        yield f"    segment {segment['name'].split('-')[0]} {state}, {size(segment['bytes'])}, last written {since}{waits}"
    if more := segments[_SHOWN:]:
        yield f"    {len(more):,} more segments, {size(sum(segment['bytes'] for segment in more))}"


def _upkeep(facts: dict[str, Any]) -> str:
    done = (
        ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in facts["done"].items() if value)
        or "nothing to do"
    )
    last = f"last went well {_short(facts['succeeded'])}: {done}" if facts["succeeded"] else "has not run yet"
    error = f"; {facts['error']}" if facts["error"] else ""
    return f"{'runs now; ' if facts['running'] else ''}{last}; due {_short(facts['next'])} UTC{error}"


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _lines(found: Any) -> Iterator[str]:
    from metlog.lake.shown import size

    process = f" (process {found.pid})" if found.pid and found.state == "running" else ""
    told = f"{process}, told at {found.told_at[:19].replace('T', ' ')} UTC" if found.told_at else ""
    yield (
        f"{found.data}: the listener{'' if found.name == 'main' else f' {found.name}'} is {found.state}{told}"
        if found.state != "never started"
        else (f"{found.data}: no listener has written here; start one: metlog listen --data {found.data}")
    )
    for problem in found.problems:
        yield f"  !! {problem}"
    for name, counts in found.inputs.items():
        more = ", ".join(
            f"{key.replace('_', ' ')} {value:,}" for key, value in counts.items() if key != "frames" and value
        )
        yield f"  input {name:<12} {counts.get('frames', 0):,} frames{f' ({more})' if more else ''}"
    if found.journal:
        journal = found.journal
        yield (
            f"  journal            {journal.get('journaled', 0):,} events taken, {size(journal.get('bytes', 0))} in "
            f"{journal.get('segments', 0)} segments wait for the outputs"
        )
        if journal.get("refuses"):
            yield f"  !! takes nothing: {journal['refuses']}"
    yield from _segments(found.segments)
    for name, output in found.outputs.items():
        behind = output.get("behind_seconds") or 0.0
        error = f"; {output['error']}" if output.get("error") else ""
        keeps = "keeps up" if behind < 5 else f"is {behind:,.0f} s behind"
        leaves = ", ends with what came until it was taken out" if output.get("leaving") else ""
        waits = f", {size(output['lag_bytes'])} wait" if output.get("lag_bytes") else ""
        yield f"  output {name:<11} {keeps}{waits}, {output.get('events', 0):,} events to {output.get('describe', '?')}{leaves}{error}"
    for job, facts in found.upkeep.items():
        yield f"  upkeep {job:<11} {_upkeep(facts)}"
    if found.loss:
        lost, sent = found.loss["lost"], found.loss["received"] + found.loss["lost"]
        open_ = found.loss["streams"] - found.loss["ended"]
        tails = f"; {open_:,} of {found.loss['streams']:,} client streams with an unconfirmed tail" if open_ else ""
        yield f"  loss               {lost:,} of {sent:,} numbered events lost on the way since the start{tails}"
    if found.dead_letters:
        total = sum(found.dead_letters.values())
        worst = max(found.dead_letters, key=lambda reason: found.dead_letters[reason])
        yield f"  dead letters       {total:,}, most of them: {worst}"
    parquet = found.parquet
    rate = f", {size(parquet['bytes_a_day'])} a day" if parquet["bytes_a_day"] else ""
    yield f"  data set           {parquet['files']:,} files, {size(parquet['bytes'])} on {parquet['days']:,} days{rate}"
    full = found.disk["full_in_days"]
    when = f"full in {full:,.0f} days at this rate" if full is not None else "no whole day yet to tell a rate from"
    yield f"  disk               {size(found.disk['free'])} of {size(found.disk['total'])} free, {when}"
