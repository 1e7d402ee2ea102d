"""`metlog ddl`: what makes the data set visible to another engine."""

from __future__ import annotations

from typing import Annotated

import typer

from metlog.cli.common import DataOption, data_folder

__all__ = ["ddl"]


def ddl(
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="spark, hive or trino.")],
    data: DataOption = None,
    location: Annotated[
        str | None,
        typer.Option(
            "--location", metavar="URI", help="Of the data set as the engine sees it: hdfs://…, s3a://…, file:///…."
        ),
    ] = None,
    database: Annotated[str, typer.Option("--database", metavar="NAME", help="Where the views are to be.")] = "metlog",
) -> None:
    """Print the statements that make the data set visible in Spark, Hive or Trino, ready to be run.

    Example: metlog ddl --engine spark --data /var/lib/metlog | spark-sql
    """
    from metlog.engines.ddl import ddl as statements
    from metlog.engines.ddl import location_of

    print(statements(engine, location_of(data_folder(data), location), database), end="")
