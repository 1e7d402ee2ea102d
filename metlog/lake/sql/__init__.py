"""What a query may say: SQL checked on its parsed tree, the views, pruning by date, DuckDB's errors told."""
