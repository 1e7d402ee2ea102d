"""metlog inside other frameworks. One file a framework, imported by name only."""
