"""Statements that make the data set visible to an engine: `metlog ddl`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from metlog.errors import ConfigError
from metlog.lake.columns import COLUMNS

__all__ = ["DDL", "ddl", "location_of"]

_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_HIVE: Final = {
    "TIMESTAMPTZ": "BIGINT", "VARCHAR": "STRING", "VARCHAR[]": "ARRAY<STRING>", "TINYINT": "TINYINT", "JSON": "STRING",
    "DOUBLE": "DOUBLE", "BIGINT": "BIGINT", "DATE": "DATE",
}  # fmt: skip
_TRINO: Final = {
    "TIMESTAMPTZ": "timestamp(6)", "VARCHAR": "varchar", "VARCHAR[]": "array(varchar)", "TINYINT": "tinyint", "JSON": "varchar",
    "DOUBLE": "double", "BIGINT": "bigint", "DATE": "date",
}  # fmt: skip
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f`'\"\\;*?\[\]{}%]")


def location_of(data: Path | None, location: str | None) -> str:
    """The URI of the folder `events`. `location`: of the data set as the engine sees it (`hdfs://…`, `s3a://…`, `file:///…`).

    Raises ConfigError for none, and for one with characters that would end a name or a text in SQL.
    """
    if location is None:
        if data is None:
            raise ConfigError("ddl wants --data DIR, or --location URI of the data set as the engine sees it")
        uri = f"file://{data.resolve()}"  # as it is: Hadoop decodes nothing in a path
    else:
        uri = location.rstrip("/")
        try:
            parts = urlsplit(uri)
        except ValueError:  # half of an IPv6 address, for one
            parts = urlsplit("")
        if parts.password or (parts.username and not parts.scheme.startswith(("abfs", "wasb"))):
            raise ConfigError("location: a URI must not hold a password; the engine has its own")
        if not parts.scheme:
            raise ConfigError(
                f"location = {location!r}: wants a URI, such as file:///var/lib/metlog, hdfs://name/metlog or s3a://bucket/metlog"
            )
    if _UNSAFE.search(uri):
        raise ConfigError(
            f"location = {uri!r}: has a quote, a backslash, a semicolon, a control character, or one that"
            " Hadoop reads as a pattern or a code (*?[]{}%); rename the folder"
        )
    return f"{uri}/events"


def ddl(engine: str, location: str, database: str = "metlog") -> str:
    """The statements for `engine`, each ended by `;`. location: as `location_of` gives it. Raises ConfigError."""
    make = DDL.get(engine)
    if make is None:
        raise ConfigError(
            f"engine = {engine!r}: there are statements for {', '.join(DDL)}; duckdb and clickhouse read the files as they are"
        )
    if not _NAME.fullmatch(database):
        raise ConfigError(f"database = {database!r}: wants a plain name of letters, digits and _")
    return make(location, database)


def _spark(location: str, database: str) -> str:
    files = f"parquet.`{location}`"
    names = ", ".join(f"`{name}`" for name in COLUMNS)
    parent = location.rpartition("/")[0]
    return f"""\
-- Spark 3.4 or later. Views over the files: new files and new days are seen at once, removed ones are no error; nothing to repair.
-- Wants at least one file in {location}.
CREATE DATABASE IF NOT EXISTS `{database}` LOCATION '{parent}/.spark/{database}.db';
CREATE OR REPLACE VIEW `{database}`.`events` AS
SELECT {names} FROM {files};
CREATE OR REPLACE VIEW `{database}`.`arrivals` AS
SELECT {names}, _metadata.file_name AS arrival_file, _metadata.row_index AS arrival_row FROM {files};
CREATE OR REPLACE VIEW `{database}`.`files` AS
SELECT `date`, 'parquet' AS kind, _metadata.file_name AS name, max(_metadata.file_size) AS bytes, count(*) AS events
FROM {files} GROUP BY `date`, _metadata.file_name;
"""


def _hive(location: str, database: str) -> str:
    columns = ",\n    ".join(f"`{name}` {_HIVE[kind]}" for name, kind in COLUMNS.items() if name != "date")
    shown = ",\n    ".join(
        f"CAST(`{name}` / 1000000.0 AS TIMESTAMP) AS `{name}`" if kind == "TIMESTAMPTZ" else f"`{name}`"
        for name, kind in COLUMNS.items()
    )
    return f"""\
-- Hive 2.3 or later; its JVM in UTC (-Duser.timezone=UTC). Before Hive 4 a TIMESTAMP cannot be read from 64-bit Parquet times,
-- so the table has microseconds, and the view makes times of them. New days: the last statement again, or `metlog partitions`.
CREATE DATABASE IF NOT EXISTS `{database}`;
CREATE EXTERNAL TABLE IF NOT EXISTS `{database}`.`events_raw` (
    {columns}
)
PARTITIONED BY (`date` DATE)
STORED AS PARQUET
LOCATION '{location}';
CREATE VIEW IF NOT EXISTS `{database}`.`events` AS
SELECT
    {shown}
FROM `{database}`.`events_raw`;
MSCK REPAIR TABLE `{database}`.`events_raw`;
"""


def _trino(location: str, database: str) -> str:
    columns = ",\n    ".join(f'"{name}" {_TRINO[kind]}' for name, kind in COLUMNS.items())
    shown = ",\n    ".join(
        f'with_timezone("{name}", \'UTC\') AS "{name}"' if kind == "TIMESTAMPTZ" else f'"{name}"'
        for name, kind in COLUMNS.items()
    )
    return f"""\
-- Trino, in a catalog `hive` of the Hive connector with hive.timestamp-precision=MICROSECONDS. Not run by metlog's tests.
-- New days: the last statement again.
CREATE SCHEMA IF NOT EXISTS hive.{database};
CREATE TABLE IF NOT EXISTS hive.{database}.events_raw (
    {columns}
)
WITH (format = 'PARQUET', partitioned_by = ARRAY['date'], external_location = '{location}');
CREATE OR REPLACE VIEW hive.{database}.events AS
SELECT
    {shown}
FROM hive.{database}.events_raw;
CALL hive.system.sync_partition_metadata('{database}', 'events_raw', 'ADD');
"""


DDL: Final = {"spark": _spark, "hive": _hive, "trino": _trino}
"""By engine, what makes its statements."""
