"""Frames of a batch, for outputs whose peer is another listener: as a client would send them."""

from __future__ import annotations

from collections.abc import Sequence

from metlog.encoders import BaseEncoder
from metlog.listener.outputs import Delivery

__all__ = ["frames_of"]

_PER_EVENT = 1
"""Bytes between two events of a frame."""
_HEAD = 8
"""Bytes that the head of a frame may have: MessagePack's length of an array."""


def frames_of(
    encoder: BaseEncoder, deliveries: Sequence[Delivery], max_frame: int, max_event: int
) -> tuple[list[bytes], list[tuple[Delivery, str]]]:
    """Returns the frames, each of at most `max_frame` bytes or of one event, and the deliveries that no frame can hold with the reason:
    their event alone is longer than `max_event` bytes."""
    overhead = encoder.overhead + _HEAD
    frames: list[bytes] = []
    rejected: list[tuple[Delivery, str]] = []
    pending: list[bytes] = []
    size = overhead
    for delivery in deliveries:
        data = encoder.encode(delivery.event)
        length = len(data) + _PER_EVENT
        if length + overhead > max_event:
            rejected.append(
                (delivery, f"too large: {len(data)} bytes; {max_event - overhead - _PER_EVENT} can be sent")
            )
            continue
        if pending and size + length > max_frame:
            frames.append(encoder.frame(pending))
            pending, size = [], overhead
        pending.append(data)
        size += length
    if pending:
        frames.append(encoder.frame(pending))
    return frames, rejected
