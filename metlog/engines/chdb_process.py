"""One query to ClickHouse: SQL and settings as JSON on standard input, an Arrow stream on standard output, what is wrong on standard error.

Started by `metlog.engines.clickhouse`, which ends it when nobody waits any more.
"""

from __future__ import annotations

import re
import sys

import msgspec

__all__ = ["main"]


def main() -> int:
    """Runs the query. Status 1 when it failed."""
    import chdb

    asked = msgspec.json.decode(sys.stdin.buffer.read())
    settings = ", ".join(
        f"{name} = {value!r}" if isinstance(value, str) else f"{name} = {value}"
        for name, value in asked["settings"].items()
    )
    try:
        found = chdb.query(f"{asked['sql'].rstrip().rstrip(';')}\nSETTINGS {settings}", "ArrowStream")
        sys.stdout.buffer.write(found.bytes())
        sys.stdout.buffer.flush()
    except Exception as error:  # noqa: BLE001 - told to the parent process
        text = re.sub(r"^Code: \d+\. DB::Exception: ", "", str(error).strip())
        print(text.split(" (version ")[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
