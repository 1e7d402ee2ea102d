"""Engine `hive`: Hive through HiveServer2."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from metlog.engines.dialects.hive import HIVE
from metlog.engines.hiveserver2 import Auth, HiveServer2Engine
from metlog.lake.sql.guard import QueryError

__all__ = ["HiveEngine"]

_EPOCH = "1970-01-01 00:00:00"


class HiveEngine(HiveServer2Engine):
    """Asks Hive through HiveServer2: `hive://HOST:PORT/DATABASE`, with the table and view that `metlog ddl --engine hive` prints.

    Options: as `spark`; `views` does not name `arrivals` and `files`, which Hive cannot make.
    """

    name = "hive"
    dialect = HIVE

    def __init__(
        self,
        *,
        host: str,
        port: int = 10000,
        path: str = "",
        user: str | None = None,
        auth: Auth = "NONE",
        password_file: Path | None = None,
        kerberos_service: str | None = None,
        tls: bool = False,
        ca: Path | None = None,
        set: list[str] | None = None,
        connect_timeout: float = 30.0,
        data: Path | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(
            host=host, port=port, path=path, user=user, auth=auth, password_file=password_file, kerberos_service=kerberos_service,
            tls=tls, ca=ca, set=set, connect_timeout=connect_timeout, data=data, timeout=timeout, views=("events",),
        )  # fmt: skip

    def checked(self, cursor: Any) -> None:
        """Times come as text of the server's zone, which before Hive 3 is its JVM's and cannot be set from here."""
        if self._epoch(cursor) == _EPOCH:
            return
        with contextlib.suppress(Exception):  # unknown before Hive 3
            cursor.execute("SET hive.local.time.zone=UTC")
        found = self._epoch(cursor)
        if found != _EPOCH:
            raise QueryError(
                f"{self.address}: its time zone is not UTC (0 seconds are {found} there); start HiveServer2's JVM with -Duser.timezone=UTC",
                "failed",
            )

    @staticmethod
    def _epoch(cursor: Any) -> str:
        cursor.execute("SELECT from_unixtime(0)")
        row = cursor.fetchone()
        return str(row[0]) if row else ""
