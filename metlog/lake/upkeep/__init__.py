"""Upkeep of the data set: small files to large ones, old events removed, a person's events removed, foreign data brought in."""
