"""Encoders: an event to bytes, and those to a frame. One file an encoder."""

from __future__ import annotations

from metlog.core.interfaces import Encoder, Records

__all__ = ["Encoder", "Records"]
