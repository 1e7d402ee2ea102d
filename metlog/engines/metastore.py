"""Days of the data set as partitions in a Hive metastore, over its Thrift interface.

Hive lists the files of a partition at each query, and learns of a new day only when it is told. Source of the messages:
hive_metastore.thrift of Hive 2.3; what a table holds that is not named here (statistics, parameters, bucketing) is read and written
back as it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from metlog.errors import ConfigError, MetlogError
from metlog.lake.days import day_of

__all__ = ["DayRegistration", "Metastore", "MetastoreError", "days_in"]

_AGAIN: Final = 60.0
"""Seconds between two attempts to tell a metastore of new days."""
_TIMEOUT: Final = 30.0
"""Seconds until the metastore must have answered."""


class MetastoreError(MetlogError):
    """The metastore cannot be reached, or refuses."""


def days_in(data: Path) -> list[date]:
    """The days that a data folder has files of."""
    events = data / "events"
    if not events.is_dir():
        return []
    found = [(day_of(folder.name), folder) for folder in events.iterdir()]
    return sorted(day for day, folder in found if day is not None and any(folder.glob("*.parquet")))


class Metastore:
    """A Hive metastore at `thrift://HOST:PORT`. Raises ConfigError for another URL, or without the package thrift."""

    def __init__(self, url: str, *, timeout: float = _TIMEOUT) -> None:
        wrong = f"metastore = {url.rpartition('@')[2]!r}: wants thrift://HOST:PORT"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigError(wrong) from None
        if parts.scheme != "thrift" or not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
            raise ConfigError(wrong)
        try:
            import thrift  # noqa: F401
        except ImportError as error:
            raise ConfigError('metastore: the package thrift is missing: pip install "metlog[hive]"') from error
        self.host, self.port = parts.hostname, port or 9083
        self._timeout = timeout

    def add_days(self, days: Iterable[date], database: str = "metlog", table: str = "events_raw") -> list[date]:
        """Adds a partition `date=…` below the table's own location for each day that the table has none of; gives the days added.

        Raises MetastoreError. A day that another process adds meanwhile is no error.
        """
        with self._client() as client:
            columns = client.storage(database, table)  # first: it says what is wrong with the name of a table
            known = set(client.partition_names(database, table))
            missing = [day for day in sorted(set(days)) if f"date={day.isoformat()}" not in known]
            if not missing:
                return []
            return [day for day in missing if client.add(database, table, day, columns)]

    @contextmanager
    def _client(self) -> Iterator[_Client]:
        from thrift.protocol import TBinaryProtocol
        from thrift.Thrift import TException
        from thrift.transport import TSocket, TTransport

        socket = TSocket.TSocket(self.host, self.port)
        socket.setTimeout(int(self._timeout * 1000))
        transport = TTransport.TBufferedTransport(socket)
        try:
            transport.open()
            yield _Client(TBinaryProtocol.TBinaryProtocol(transport))
        except (TException, OSError, EOFError) as error:
            raise MetastoreError(f"thrift://{self.host}:{self.port}: {error}") from error
        finally:
            transport.close()


class DayRegistration:
    """Tells a metastore of each day that a data folder begins, once; after a failure not before a minute is over.

    url: as for `Metastore`. table: `DATABASE.TABLE`. Raises ConfigError.
    """

    def __init__(self, url: str, table: str) -> None:
        self._metastore = Metastore(url, timeout=10)
        self._database, dot, self._table = table.partition(".")
        if not dot or not self._database or not self._table:
            raise ConfigError(f"metastore_table = {table!r}: wants DATABASE.TABLE, such as metlog.events_raw")
        self._known: set[date] = set()
        self._not_before = 0.0
        self._problem = ""

    def look(self, data: Path) -> str:
        """Adds the days that are new since the last look; gives what is wrong, or an empty text."""
        days = set(days_in(data)) - self._known
        if not days or time.monotonic() < self._not_before:
            return self._problem if days else ""
        try:
            self._metastore.add_days(days, self._database, self._table)
        except MetastoreError as error:
            self._problem = f"the metastore was not told of {min(days)}: {error}"
            self._not_before = time.monotonic() + _AGAIN
            return self._problem
        self._known |= days
        self._problem = ""
        return ""


class _Client:
    """Three calls. Structures are kept as lists of (field, type, value), so that nothing of them is lost."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._number = 0

    def partition_names(self, database: str, table: str) -> list[str]:
        from thrift.Thrift import TType

        names = self._call("get_partition_names", [_text(1, database), _text(2, table), (3, TType.I16, -1)])
        return [name.decode() for name in names[1]]

    def storage(self, database: str, table: str) -> list[_Field]:
        """The storage descriptor of a table: columns, formats, location."""
        found: list[_Field] = self._call("get_table", [_text(1, database), _text(2, table)])
        for number, _, value in found:
            if number == 7:
                descriptor: list[_Field] = value
                return descriptor
        raise MetastoreError(f"the table {database}.{table} has no storage descriptor: is it a view?")

    def add(self, database: str, table: str, day: date, storage: list[_Field]) -> bool:
        """Whether the partition is new."""
        from thrift.Thrift import TType

        base = next((value.decode() for number, _, value in storage if number == 2), "")
        if not base:
            raise MetastoreError(f"the table {database}.{table} has no location")
        place = f"{base.rstrip('/')}/date={day.isoformat()}"
        descriptor = [_text(2, place) if number == 2 else (number, kind, value) for number, kind, value in storage]
        now = int(time.time())
        partition: list[_Field] = [
            (1, TType.LIST, (TType.STRING, [day.isoformat().encode()])), _text(2, database), _text(3, table),
            (4, TType.I32, now), (5, TType.I32, 0), (6, TType.STRUCT, descriptor), (7, TType.MAP, (TType.STRING, TType.STRING, {})),
        ]  # fmt: skip
        try:
            self._call("add_partition", [(1, TType.STRUCT, partition)])
        except _AlreadyThere:
            return False
        return True

    def _call(self, name: str, arguments: list[_Field]) -> Any:
        from thrift.Thrift import TApplicationException, TMessageType, TType

        self._number += 1
        self._protocol.writeMessageBegin(name, TMessageType.CALL, self._number)
        _write(self._protocol, TType.STRUCT, arguments)
        self._protocol.writeMessageEnd()
        self._protocol.trans.flush()
        _, kind, _ = self._protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            failure = TApplicationException()
            failure.read(self._protocol)
            raise MetastoreError(f"{name}: {failure}")
        answer: list[_Field] = _read(self._protocol, TType.STRUCT)
        self._protocol.readMessageEnd()
        for number, _, value in answer:
            if number == 0:
                return value
            message = next(
                (text.decode("utf-8", "replace") for field, _, text in value if field == 1), "no reason was given"
            )
            if name == "add_partition" and number == 2:  # AlreadyExistsException
                raise _AlreadyThere(message)
            raise MetastoreError(f"{name}: {message}")
        raise MetastoreError(f"{name}: an answer without a result")


class _AlreadyThere(Exception):
    pass


_Field = tuple[int, int, Any]


def _text(number: int, value: str) -> _Field:
    from thrift.Thrift import TType

    return number, TType.STRING, value.encode()


def _read(protocol: Any, kind: int) -> Any:
    from thrift.Thrift import TType

    if kind == TType.STRUCT:
        found = []
        protocol.readStructBegin()
        while True:
            _, field, number = protocol.readFieldBegin()
            if field == TType.STOP:
                break
            found.append((number, field, _read(protocol, field)))
            protocol.readFieldEnd()
        protocol.readStructEnd()
        return found
    if kind in {TType.LIST, TType.SET}:
        inner, size = protocol.readListBegin()
        items = [_read(protocol, inner) for _ in range(size)]
        protocol.readListEnd()
        return inner, items
    if kind == TType.MAP:
        keys, values, size = protocol.readMapBegin()
        pairs = {_read(protocol, keys): _read(protocol, values) for _ in range(size)}
        protocol.readMapEnd()
        return keys, values, pairs
    return _simple(protocol, "read", kind)()


def _write(protocol: Any, kind: int, value: Any) -> None:
    from thrift.Thrift import TType

    if kind == TType.STRUCT:
        protocol.writeStructBegin("")
        for number, field, content in value:
            protocol.writeFieldBegin("", field, number)
            _write(protocol, field, content)
            protocol.writeFieldEnd()
        protocol.writeFieldStop()
        protocol.writeStructEnd()
    elif kind in {TType.LIST, TType.SET}:
        inner, items = value
        protocol.writeListBegin(inner, len(items))
        for item in items:
            _write(protocol, inner, item)
        protocol.writeListEnd()
    elif kind == TType.MAP:
        keys, values, pairs = value
        protocol.writeMapBegin(keys, values, len(pairs))
        for key, content in pairs.items():
            _write(protocol, keys, key)
            _write(protocol, values, content)
        protocol.writeMapEnd()
    else:
        _simple(protocol, "write", kind)(value)


def _simple(protocol: Any, way: str, kind: int) -> Any:
    from thrift.Thrift import TType

    names = {
        TType.BOOL: "Bool", TType.BYTE: "Byte", TType.I16: "I16", TType.I32: "I32", TType.I64: "I64", TType.DOUBLE: "Double",
        TType.STRING: "Binary",
    }  # fmt: skip
    if kind not in names:
        raise MetastoreError(f"a value of the unknown type {kind}")
    return getattr(protocol, way + names[kind])
