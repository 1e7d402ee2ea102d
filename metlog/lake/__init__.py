"""The lake: journal segments and Parquet files on disk, how they are written and how they are read together."""
