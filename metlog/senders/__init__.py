"""Senders: take a frame somewhere. One file a sender."""

from __future__ import annotations

from metlog.core.interfaces import Sender

__all__ = ["Sender"]
