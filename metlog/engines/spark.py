"""Engine `spark`: Spark SQL through its Thrift server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metlog.engines.base import Run
from metlog.engines.dialects.spark import SPARK
from metlog.engines.hiveserver2 import HiveServer2Engine

__all__ = ["SparkEngine"]


class SparkEngine(HiveServer2Engine):
    """Asks Spark SQL through its Thrift server: `spark://HOST:PORT/DATABASE`, with the views that `metlog ddl --engine spark` prints.

    Options: those of `hive`.
    """

    name = "spark"
    dialect = SPARK
    session = ("SET spark.sql.session.timeZone=UTC", "SET spark.sql.variable.substitute=false")
    """Over Thrift a time is a text in the session's zone; and `${…}` in a text is to stay what it is."""

    def settings_of(self, run: Run) -> Sequence[str]:
        # With ANSI rules a cast of what is no number is an error; one that depends on another service's event would tell of it.
        return ("SET spark.sql.ansi.enabled=false",) if run.limited else ("SET spark.sql.ansi.enabled=true",)

    def checked(self, cursor: Any) -> None:
        return None
