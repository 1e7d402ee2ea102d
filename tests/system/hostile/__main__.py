"""`python -m tests.system.hostile`: the attack for as long as one likes."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.system.hostile.run import run


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="metlog-hostile-"))
    print(f"seed {options.seed}, folder {folder}", flush=True)
    found = run(folder, options.seconds, options.seed)
    print(json.dumps(found, indent=2))
    if not found["wrong"]:
        shutil.rmtree(folder)
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
