"""The same cases under pyperf, each in processes of its own: `python benchmarks/micro.py --fast -o figures.json`.

For comparing two versions of metlog on one machine (`python -m pyperf compare_to old.json new.json`). Ratios between cases are
better taken from `metlog bench`, whose rounds interleave. One case: `--case NAME`.
"""

from __future__ import annotations

import argparse
import time

import pyperf

from metlog.bench import CASES, Case


def timed(case: Case) -> object:
    loop, _ = case.open()

    def measure(calls: int) -> float:
        start = time.perf_counter()
        loop(calls)
        return time.perf_counter() - start

    return measure


def pass_on(command: list[str], args: argparse.Namespace) -> None:
    if args.case:
        command.extend(["--case", args.case])


def main() -> None:
    runner = pyperf.Runner(add_cmdline_args=pass_on)
    runner.argparser.add_argument("--case", help="only the case of this name")
    args = runner.parse_args()
    for case in CASES:
        if args.case in (None, case.name):
            try:
                runner.bench_time_func(case.name, timed(case))
            except ImportError as error:
                print(f"left out: {case.name}: {error}")


if __name__ == "__main__":
    main()
