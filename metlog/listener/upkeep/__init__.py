"""Upkeep of the data set by the listener: when it is due, and the process that does it."""
