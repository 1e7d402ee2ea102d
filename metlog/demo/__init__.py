"""What `metlog demo` runs: a small web application, its visitors, and the listener they report to."""
