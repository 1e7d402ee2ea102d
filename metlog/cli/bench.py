"""`metlog bench`: the microbenchmarks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench"]


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds: half a minute, wider spread.")] = False,
    only: Annotated[
        str | None, typer.Option("--only", help="Cases whose name matches this expression, and the scale.")
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the figures here, as JSON.")] = None,
    as_svg: Annotated[Path | None, typer.Option("--svg", help="Write a bar chart here.")] = None,
) -> None:
    """Measure what an event costs, beside the floor, a raw send and each peer that is installed."""
    from metlog import bench as suite

    try:
        pattern = re.compile(only or "")
    except re.error as error:
        typer.echo(f"metlog bench: --only {only!r}: {error}", err=True)
        raise typer.Exit(2) from None
    cases = [case for case in suite.CASES if case.group == "scale" or pattern.search(case.name)]
    left_out: list[str] = []
    rounds, calls = (5, 2000) if quick else (25, 5000)
    rows = suite.run(cases, rounds=rounds, calls=calls, left_out=left_out)
    typer.echo(suite.as_table(rows))
    for line in left_out:
        typer.echo(f"left out: {line}")
    if as_json is not None:
        as_json.write_text(suite.as_json(rows), "utf-8")
    if as_svg is not None:
        as_svg.write_text(suite.as_svg(rows), "utf-8")
