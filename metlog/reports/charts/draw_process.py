"""The process that draws for `metlog.reports.charts.drawing`: requests from standard input, pictures to standard output.

It runs as a file, so that nothing of metlog is imported: the packages that it stands in would bring the database and Arrow.
It ends when its input is closed, when nobody asked for `_IDLE` seconds, and after a picture that made it grow past `_WORN`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import struct
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

__all__ = ["CODES", "DRAWN", "FAILED", "HEAD", "RETIRED", "main"]

HEAD: Final = struct.Struct("<cI")
"""Kind and length of an answer, and of a request."""
CODES: Final[dict[str, bytes]] = {"svg": b"s", "png": b"p", "html": b"h", "script": b"j"}
DRAWN: Final = b"d"
FAILED: Final = b"f"
RETIRED: Final = 75
"""Exit status of a process that left of its own accord: idle for long, or grown."""
_IDLE: Final = 60.0
_WORN: Final = 400 << 20
_NICE: Final = 5


def _exactly(size: int) -> bytes:
    """Raises EOFError when the input ends before."""
    found = b""
    while len(found) < size:
        part = os.read(0, size - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def _draw(code: bytes, spec: dict[str, Any]) -> bytes:
    import vl_convert

    if code == CODES["svg"]:
        return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])).encode()  # a chart never loads anything
    if code == CODES["png"]:
        return bytes(vl_convert.vegalite_to_png(spec, scale=2, allowed_base_urls=[]))
    if code == CODES["html"]:
        return str(vl_convert.vegalite_to_html(spec, bundle=True)).encode()
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).encode()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()


def main(memory: int) -> None:
    """Draws until nobody asks any more."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # only Linux has it; there the kernel takes this process first
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        if not select.select([0], [], [], _IDLE)[0]:
            os._exit(RETIRED)
        try:
            code, length = HEAD.unpack(_exactly(HEAD.size))
            spec = msgspec.json.decode(_exactly(length))
        except EOFError:
            os._exit(0)
        try:
            answer, content = DRAWN, _draw(code, spec)
        except Exception as error:  # noqa: BLE001 - the library raises any class; the caller is told
            answer, content = FAILED, f"{type(error).__name__}: {error}"[:2000].encode()
        output.write(HEAD.pack(answer, len(content)) + content)
        output.flush()
        with contextlib.suppress(OSError):  # only Linux has it
            if _resident() > _WORN:
                os._exit(RETIRED)


if __name__ == "__main__":
    main(int(sys.argv[1]))
