"""The statsd client that stands behind `client.statsd`, and the one that does nothing when `statsd` is false."""
