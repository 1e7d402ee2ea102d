"""What `metlog doctor` and `metlog test` check: configuration, reachability, the listener, Graphite."""
