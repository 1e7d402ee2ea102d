"""The web page: reports with charts, live tail, search and SQL in a browser, and the same for programs."""
