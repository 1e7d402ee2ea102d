"""Alerts: a report or SQL asked again and again, a condition on its result, and who is told when it holds and when no more."""
