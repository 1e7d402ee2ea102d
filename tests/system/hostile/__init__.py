"""Whatever a network can send, at everything that listens, beside a good client that must not notice."""
