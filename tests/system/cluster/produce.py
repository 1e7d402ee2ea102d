"""Events at a steady rate into a topic: `python -m tests.system.cluster.produce BROKER TOPIC RATE SECONDS STREAMS`.

Half of the streams send an event a message, half send frames of some dozen, as the sender `kafka` does. Each stream numbers its events
from 1; at the end, also after SIGTERM, a line on standard output says how many each stream sent.
"""

from __future__ import annotations

import json
import secrets
import signal
import sys
import time
from datetime import UTC, datetime

from confluent_kafka import Producer

FRAME = 24
"""Events of a frame."""


def main(broker: str, topic: str, rate: int, seconds: float, streams: int) -> None:
    producer = Producer({
        "bootstrap.servers": broker, "linger.ms": 20, "enable.idempotence": True, "compression.type": "zstd",
        "queue.buffering.max.messages": 1_000_000,
    })  # fmt: skip
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    failed: list[str] = []

    def reported(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    names = [secrets.token_hex(8) for _ in range(streams)]
    sent = dict.fromkeys(names, 0)
    began = time.monotonic()
    total = turn = 0
    while not stopping and time.monotonic() - began < seconds:
        due = int((time.monotonic() - began) * rate)
        if total >= due:
            producer.poll(0.005)
            continue
        number = turn % streams
        name = names[number]
        turn += 1
        head = f'{{"timestamp":"{datetime.now(UTC).isoformat()}","type":"request","tokens":["request","shop"],"logger":"shop",'
        head += f'"hostname":"web-{number}","pid":4711,"stream":"{name}","seq":'
        events = []
        for _ in range(FRAME):
            sent[name] += 1
            fields = (
                f'"fields":{{"route":"/cart/{sent[name] % 7}","ms":{sent[name] % 211}.5,"user":"u{sent[name] % 997}"}}'
            )
            events.append(f'{head}{sent[name]},"payload":"GET /cart 200",{fields}}}\n'.encode())
        total += FRAME
        for message in events if number % 2 else [b"".join(events)]:
            while True:
                try:
                    producer.produce(topic, message, name, on_delivery=reported)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
    producer.flush(60)
    if failed:
        raise SystemExit(f"{len(failed)} messages were not taken: {failed[0]}")
    print(json.dumps({"streams": sent, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
