"""Tools for tests: conformance suites for senders, encoders and filters, and peers for senders to talk to."""
