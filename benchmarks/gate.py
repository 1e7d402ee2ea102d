"""Ratios that must hold, measured within one run; three tries, since machines are shared. Exit 1 when one does not."""

from __future__ import annotations

import sys

from metlog.bench import CASES, as_table, run

NAMES = {case.name: case for case in CASES}
FLOOR = "floor: build and encode, send nothing"
SEND = "raw socket.send of 280 bytes"
LIMITS = (  # case, most in multiples of the floor: generous, for noise; docs/performance.md has the targets
    ("metlog default (JSON, UDP)", 4.0),
    ("metlog null sender", 3.5),
    ("metlog dropped by severity", 0.6),
    ("metlog timer, disabled", 0.7),
)


def failures() -> list[str]:
    rows = run([NAMES[FLOOR], NAMES[SEND], *(NAMES[name] for name, _ in LIMITS)], rounds=15, calls=4000)
    print(as_table(rows))
    figures = {row.name: row.caller for row in rows}
    return [
        f"{name}: {figures[name] / figures[FLOOR]:.2f} x floor, at most {most}"
        for name, most in LIMITS
        if figures[name] > most * figures[FLOOR]
    ]


def main() -> int:
    for _ in range(3):
        found = failures()
        if not found:
            print("every ratio holds")
            return 0
        print("\n".join(found))
    return 1


if __name__ == "__main__":
    sys.exit(main())
