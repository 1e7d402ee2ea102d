"""Starts a program as systemd does: with sockets from descriptor 3 on, and variables that say so.

python passing.py FD,FD… NAMES PROGRAM ARGUMENT…
"""

from __future__ import annotations

import os
import sys

descriptors = [os.dup2(int(fd), 100 + index) for index, fd in enumerate(sys.argv[1].split(","))]
for index, fd in enumerate(descriptors):
    os.dup2(fd, 3 + index)
os.environ |= {"LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": sys.argv[2], "LISTEN_PID": str(os.getpid())}
os.closerange(3 + len(descriptors), 200)
os.execv(sys.argv[3], sys.argv[3:])
