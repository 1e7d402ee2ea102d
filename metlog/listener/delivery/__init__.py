"""Delivery: each output in a process of its own that reads the journal and keeps its position."""
