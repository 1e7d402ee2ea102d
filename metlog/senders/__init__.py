"""Senders: take a frame somewhere. One file a sender."""

from __future__ import annotations

from metlog.core.interfaces import BaseSender, Sender

__all__ = ["BaseSender", "Sender"]
