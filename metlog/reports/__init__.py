"""Reports: the questions that every service owner asks, each a file with its SQL and its chart."""
