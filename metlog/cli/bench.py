"""`metlog bench`: the microbenchmarks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from metlog.cli.progress import working

__all__ = ["bench"]


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds and calls: wider spread.")] = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", help="Run only cases whose name matches this regular expression; the floor always runs."
        ),
    ] = None,
    scaling: Annotated[
        bool,
        typer.Option("--scaling", help="Threads, sizes, fields, a stuck peer, the tail, memory over time instead."),
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=86400, help="With --scaling: how long the last part lasts.")
    ] = 60.0,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the figures here, as JSON.")] = None,
    as_svg: Annotated[Path | None, typer.Option("--svg", help="Write a bar chart here.")] = None,
    as_pyperf: Annotated[
        Path | None, typer.Option("--pyperf", help="Write the caller's times here, for `pyperf compare_to`.")
    ] = None,
) -> None:
    """Measure what an event costs, beside the floor, a raw send and each peer that is installed."""
    from metlog import bench as suite

    if scaling:
        from metlog.bench import scaling as grow

        for point in grow.scaling(seconds):
            typer.echo(grow.as_table([point]))
        return
    try:
        pattern = re.compile(only or "")
    except re.error as error:
        typer.echo(f"metlog bench: --only {only!r}: {error}", err=True)
        raise typer.Exit(2) from None
    cases = [case for case in suite.CASES if case.group == "scale" or pattern.search(case.name)]
    left_out: list[str] = []
    rounds, calls = (7, 4000) if quick else (25, 20_000)
    with working("measuring") as tell:
        rows = suite.run(
            cases,
            rounds=rounds,
            calls=calls,
            left_out=left_out,
            progress=lambda done, of: tell(f"round {done} of {of}", done, of),
        )
    typer.echo(suite.as_table(rows))
    for line in left_out:
        typer.echo(f"left out: {line}")
    if as_json is not None:
        as_json.write_text(suite.as_json(rows), "utf-8")
    if as_svg is not None:
        as_svg.write_text(suite.as_svg(rows), "utf-8")
    if as_pyperf is not None:
        try:
            suite.as_pyperf(rows).dump(str(as_pyperf), replace=True)
        except ImportError:
            typer.echo('metlog bench: --pyperf needs the extra: pip install "metlog[bench]"', err=True)
            raise typer.Exit(2) from None
