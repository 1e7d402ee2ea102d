"""A process between clients and a listener that drops, repeats and reorders datagrams, and knows how many events of each stream.

    python lossy_relay.py LISTENER_PORT SEED

Prints the port that it listens on; at the end of its standard input it prints, as JSON, what it did. The first datagram of a
stream passes, so that whoever counts from there on counts the same; the last ones are spared or not as chance has it.
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
from collections import Counter, defaultdict
from typing import Any


def main() -> None:
    target = ("127.0.0.1", int(sys.argv[1]))
    rng = random.Random(int(sys.argv[2]))
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    print(receiver.getsockname()[1], flush=True)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    held: dict[str, bytes] = {}
    while True:
        ready, _, _ = select.select([receiver, sys.stdin], [], [])
        if receiver not in ready:
            break
        data = receiver.recv(65_535)
        events: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
        stream = events[0]["stream"]
        count = counts[stream]
        count["events"] += len(events)
        count["end"] |= any(event["type"] == "metlog.end" for event in events)
        chance = rng.random()
        if count["datagrams"] and chance < 0.1:
            count["lost"] += len(events)
            count["end lost"] |= any(event["type"] == "metlog.end" for event in events)
        elif count["datagrams"] and chance < 0.2 and stream not in held:
            held[stream] = data  # goes out after the next that passes
        else:
            sender.sendto(data, target)
            if chance > 0.9:
                sender.sendto(data, target)
                count["repeated"] += len(events)
            if stream in held:
                late = held.pop(stream)
                sender.sendto(late, target)
                count["reordered"] += late.count(b"\n")
            count["passed"] += 1
        count["datagrams"] += 1
    for data in held.values():  # nothing came after it: it was only slow
        sender.sendto(data, target)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
