"""Encoders: an event to bytes, and those to a frame. One file an encoder."""

from __future__ import annotations

from metlog.core.interfaces import BaseEncoder, Encoder, Records

__all__ = ["BaseEncoder", "Encoder", "Records"]
