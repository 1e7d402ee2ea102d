"""Pictures of results: Vega-Lite specifications and charts in a terminal."""
