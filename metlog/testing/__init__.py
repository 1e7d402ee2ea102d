"""Tools for tests: conformance suites for senders, encoders and filters, and peers for senders to talk to."""

from __future__ import annotations

from metlog.testing.senders import SenderConformance, client_with

__all__ = ["SenderConformance", "client_with"]
