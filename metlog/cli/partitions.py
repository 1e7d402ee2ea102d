"""`metlog partitions`: new days of the data set for a Hive metastore."""

from __future__ import annotations

from typing import Annotated

import typer

from metlog.cli.common import DataOption, existing_data_folder

__all__ = ["partitions"]


def partitions(
    metastore: Annotated[str, typer.Option("--metastore", metavar="URL", help="thrift://HOST:PORT (9083).")],
    data: DataOption = None,
    database: Annotated[str, typer.Option("--database", metavar="NAME", help="Of the table.")] = "metlog",
    table: Annotated[str, typer.Option("--table", metavar="NAME", help="The external table.")] = "events_raw",
) -> None:
    """Add the days of the data folder to a table in a Hive metastore, those that it has not; for cron, each day after midnight UTC.

    Example: metlog partitions --metastore thrift://metastore:9083 --data /var/lib/metlog
    """
    from metlog.engines.metastore import Metastore, days_in

    days = days_in(existing_data_folder(data))
    added = Metastore(metastore).add_days(days, database, table)
    for day in added:
        print(f"added date={day.isoformat()}")
    print(f"{len(added)} of {len(days)} days were new to {database}.{table}")
