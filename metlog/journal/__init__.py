"""The journal: checksummed append-only segments that the listener writes and every reader follows."""
