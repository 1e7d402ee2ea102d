"""Puts the figures of `metlog bench --json FILE` into docs/performance.md and draws docs/pictures/bench.svg:
`python benchmarks/table.py FILE`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from metlog.bench import Row, as_svg

DOCS = Path(__file__).parent.parent / "docs"


def table(found: dict[str, object]) -> str:
    lines = [
        "| | caller, ns | ± | over floor | over send | CPU, ns | CPU over floor |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in found["cases"]:  # type: ignore[attr-defined]
        name = f"**{case['name']}**" if case["group"] == "metlog" else case["name"]
        lines.append(
            f"| {name} | {case['caller'] * 1e9:,.0f} | {case['spread'] * 1e9:,.0f} | {case['floor_ratio']:.2f} "
            f"| {case['send_ratio']:.2f} | {case['cpu'] * 1e9:,.0f} | {case['cpu_floor_ratio']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    found = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    page = DOCS / "performance.md"
    text = re.sub(
        r"(<!-- table -->\n).*?(<!-- end -->)",
        lambda match: f"{match[1]}{table(found)}\n{match[2]}",
        page.read_text("utf-8"),
        flags=re.DOTALL,
    )
    page.write_text(text, "utf-8")
    (DOCS / "pictures").mkdir(exist_ok=True)
    names = Row._fields
    rows = [Row(**{name: case[name] for name in names}) for case in found["cases"]]
    (DOCS / "pictures" / "bench.svg").write_text(as_svg(rows), "utf-8")


if __name__ == "__main__":
    main()
