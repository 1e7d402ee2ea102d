"""HiveServer2's protocol, as HiveServer2 and Spark's Thrift server speak it: connections, sign-in, statements that can be cancelled."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import pyarrow as pa

from metlog.engines.base import Rows, Run, TranslatedEngine
from metlog.engines.dialects.translate import Sources
from metlog.errors import ConfigError
from metlog.lake.sql.guard import QueryError

__all__ = ["Auth", "HiveServer2Engine"]

Auth = Literal["NONE", "NOSASL", "LDAP", "CUSTOM", "KERBEROS"]

_ROWS: Final = 10_000
"""Rows that are fetched at once."""
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_PASSWORD: Final = "METLOG_ENGINE_PASSWORD"  # noqa: S105 - the name of a variable
_KINDS: Final = {
    "BOOLEAN_TYPE": pa.bool_(), "TINYINT_TYPE": pa.int8(), "SMALLINT_TYPE": pa.int16(), "INT_TYPE": pa.int32(),
    "BIGINT_TYPE": pa.int64(), "FLOAT_TYPE": pa.float64(), "DOUBLE_TYPE": pa.float64(), "DATE_TYPE": pa.date32(),
    "TIMESTAMP_TYPE": pa.timestamp("us"),
}  # fmt: skip


class HiveServer2Engine(TranslatedEngine):
    """What the engines `spark` and `hive` share. A query has a connection of its own, which ends with it.

    host, port, path: of the server, and the database. auth: as the server's `hive.server2.authentication`. user: METLOG_ENGINE_USER, else
    the process's own. password_file: holds the password for LDAP or CUSTOM; METLOG_ENGINE_PASSWORD where it is not given (never a URL).
    kerberos_service: the server's principal's first part; the ticket is the one that `kinit` got. tls: talk TLS, and check the
    server's name and certificate against `ca` (a file of certificates; the system's where it is not given). set: settings of each session,
    `name=value`. connect_timeout: seconds until the server must have answered while a connection is made.
    """

    session: ClassVar[Sequence[str]] = ()
    """Statements at the beginning of each connection."""

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
        views: tuple[str, ...] = ("events", "arrivals", "files"),
    ) -> None:
        database = path.strip("/") or "default"
        if not _NAME.fullmatch(database):
            raise ConfigError(f"path = {path!r}: wants the name of a database, such as /metlog")
        super().__init__(Sources({view: f"`{database}`.`{view}`" for view in views}), data=data, timeout=timeout)
        self.host, self.port, self.database = host, port, database
        self._user = user or os.environ.get("METLOG_ENGINE_USER") or None
        self._auth = auth
        self._password = _password(auth, password_file)
        if (kerberos_service is not None) != (auth == "KERBEROS"):
            raise ConfigError("kerberos_service: goes with auth=KERBEROS, and auth=KERBEROS with it (often: hive)")
        self._service = kerberos_service
        self._tls = _context(ca) if tls else None
        if ca is not None and not tls:
            raise ConfigError(f"ca = {str(ca)!r}: goes with tls=true")
        self._settings = [_setting(text) for text in set or ()]
        self._connect_timeout = connect_timeout
        _driver()

    @property
    def address(self) -> str:
        """Where it is, for messages: no user, no password."""
        return f"{self.name}://{self.host}:{self.port}/{self.database}"

    @contextmanager
    def run(self, sql: str, run: Run) -> Iterator[Rows]:
        with self._connection(run) as connection:
            cursor = connection.cursor(arraysize=_ROWS)
            handle: Any = None
            try:
                with self._told(run):
                    cursor.execute(sql, async_=True)
                    handle = cursor._operationHandle
                    self._wait(cursor, handle, run)
                    columns = [
                        (str(name), _KINDS.get(kind, pa.string())) for name, kind, *_ in cursor.description or ()
                    ]
                yield Rows(columns, self._rows(cursor, run) if columns else ())
            except BaseException:  # Ctrl-C too: nothing is to go on in the server that nobody waits for
                self._cancel(handle)
                raise
            finally:
                with contextlib.suppress(Exception):  # the connection is ended in any case, and the operation with it
                    cursor.close()

    def _rows(self, cursor: Any, run: Run) -> Iterator[Sequence[Sequence[Any]]]:
        while True:
            run.check()
            with self._told(run):
                some = cursor.fetchmany(_ROWS)
            if not some:
                return
            yield some

    def _wait(self, cursor: Any, handle: Any, run: Run) -> None:
        """Until the statement has come to its end. The server answers a poll after some seconds only, so cancelling has a connection of
        its own: an operation is known to the server, not to a connection."""
        from TCLIService.ttypes import TOperationState

        names = TOperationState._VALUES_TO_NAMES
        run.tell(f"{self.name}: running")
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(handle, run, ended), name="metlog-engine-watch", daemon=True)
        watch.start()
        try:
            while True:
                found = cursor.poll(get_progress_update=True)
                state = names.get(found.operationState, "?").removesuffix("_STATE").lower()
                run.check()
                if state == "finished":
                    return
                if state in {"canceled", "closed", "timedout"}:
                    raise QueryError(f"{self.name} ended the query ({state})", "cancelled")
                if state == "error":
                    raise self._failed(str(found.errorMessage or "no reason was given"), run)
                update = found.progressUpdateResponse
                share = (
                    float(update.progressedPercentage) if update is not None and update.progressedPercentage else None
                )
                run.tell(
                    f"{self.name}: {state}"
                    + (f", {update.footerSummary}" if update is not None and update.footerSummary else ""),
                    share,
                )
        finally:
            ended.set()
            watch.join()

    def _watch(self, handle: Any, run: Run, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            if run.reason() is not None:
                self._cancel(handle)
                return

    def _cancel(self, handle: Any) -> None:
        """Ends an operation, over a connection of its own."""
        from TCLIService.ttypes import TCancelOperationReq

        if handle is None:
            return
        # Where this fails, the operation ends with the session that began it.
        with contextlib.suppress(Exception), self._connection(Run(self.name, self._connect_timeout, None)) as other:
            other.client.CancelOperation(TCancelOperationReq(operationHandle=handle))

    @contextmanager
    def _connection(self, run: Run) -> Iterator[Any]:
        connection = self._connect(run)
        try:
            yield connection
        finally:
            with contextlib.suppress(Exception):  # it may be gone already
                connection.close()

    def _connect(self, run: Run) -> Any:
        from pyhive import hive

        limit = self._connect_timeout if run.left is None else max(min(self._connect_timeout, run.left), 0.1)
        transport, socket = self._transport(limit)
        try:
            connection = hive.Connection(
                thrift_transport=transport, username=self._user, database=self.database, configuration=None
            )
        except Exception as error:  # noqa: BLE001 - of several libraries; told in one sentence
            with contextlib.suppress(Exception):
                transport.close()
            raise QueryError(f"{self.address}: no connection: {self._plain(error)}", "failed") from None
        try:
            cursor = connection.cursor()
            for statement in (*self.session, *self.settings_of(run), *self._settings):
                cursor.execute(statement)
            self.checked(cursor)
            socket.setTimeout(None)
        except QueryError:
            connection.close()
            raise
        except Exception as error:  # noqa: BLE001 - as above
            connection.close()
            raise QueryError(f"{self.address}: the session cannot be set up: {self._plain(error)}", "failed") from None
        return connection

    def settings_of(self, run: Run) -> Sequence[str]:
        """More statements for one query's connection."""
        return ()

    def checked(self, cursor: Any) -> None:
        """Raises QueryError when a new session is not as it must be."""

    def _transport(self, timeout: float) -> tuple[Any, Any]:
        from pyhive.hive import get_installed_sasl
        from thrift.transport import TSocket, TSSLSocket, TTransport

        if self._tls is not None:
            socket = TSSLSocket.TSSLSocket(self.host, self.port, ssl_context=self._tls, server_hostname=self.host)
        else:
            socket = TSocket.TSocket(self.host, self.port)
        socket.setTimeout(int(timeout * 1000))
        if self._auth == "NOSASL":
            return TTransport.TBufferedTransport(socket), socket
        import thrift_sasl

        mechanism = "GSSAPI" if self._auth == "KERBEROS" else "PLAIN"
        given: dict[str, Any] = {"service": self._service} if self._auth == "KERBEROS" else {
            "username": self._user or _process_user(), "password": self._password or "x",  # some password is wanted for NONE, too
        }  # fmt: skip
        return thrift_sasl.TSaslClientTransport(
            lambda: get_installed_sasl(host=self.host, sasl_auth=mechanism, **given), mechanism, socket
        ), socket

    @contextmanager
    def _told(self, run: Run) -> Iterator[None]:
        """What goes wrong on the way, as QueryError; the reason to end comes first."""
        try:
            yield
        except QueryError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            raise run.reason() or self._failed(self._plain(error), run) from None

    def _failed(self, text: str, run: Run) -> QueryError:
        if run.limited:
            # An engine's words may hold values of events, and those of other services.
            return QueryError(
                f"the query failed in {self.name}; its own words are for those who see all services", "failed"
            )
        return QueryError(f"{self.name}: {self._cleaned(_first_lines(text))}", "failed")

    def _plain(self, error: BaseException) -> str:
        """The words of an error without stack traces, and without the password."""
        status = getattr(error.args[0], "status", None) if error.args else None
        text = getattr(status, "errorMessage", None) or str(error) or type(error).__name__
        inner = error.__cause__ or error.__context__
        if isinstance(inner, OSError) and str(inner) not in text:
            text = f"{text} ({inner})"
        return self._cleaned(_first_lines(str(text)))

    def _cleaned(self, text: str) -> str:
        return text.replace(self._password, "***") if self._password else text


_STACK: Final = re.compile(r"\n\s+at [\w.$]+\(.*", re.DOTALL)


def _first_lines(text: str) -> str:
    """An error of a Java server: up to its first stack trace, and no more than a reader reads."""
    text = _STACK.split(text, maxsplit=1)[0].strip()
    text = re.sub(
        r"^(?:Error (?:running|operating) \w+(?: statement|_STATEMENT)?: |[\w.]+(?:Exception|Error): )+", "", text
    )
    return text if len(text) <= 1500 else f"{text[:1500]}…"


def _password(auth: str, file: Path | None) -> str | None:
    if auth not in {"LDAP", "CUSTOM"}:
        if file is not None:
            raise ConfigError(f"password_file = {str(file)!r}: goes with auth=LDAP or auth=CUSTOM")
        return None
    if file is None:
        found = os.environ.get(_PASSWORD)
        if not found:
            raise ConfigError(
                f"auth = {auth!r}: wants a password, in a file (password_file) or in the variable {_PASSWORD}"
            )
        return found
    try:
        return file.read_text("utf-8-sig").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"password_file = {str(file)!r}: {getattr(error, 'strerror', None) or error}") from error


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca = {str(ca)!r}: {getattr(error, 'strerror', None) or error}") from error


def _setting(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.:-]+", name) or re.search(r"[;\n\r`'\"]", value):
        raise ConfigError(f"set = {text!r}: wants NAME=VALUE, such as spark.sql.shuffle.partitions=8")
    return f"SET {name}={value}"


def _process_user() -> str:
    import getpass

    return getpass.getuser()


def _driver() -> None:
    """Raises ConfigError with what to install."""
    for name in ("thrift", "pyhive"):  # they log each failed connection, which is told in any case
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        import thrift_sasl  # noqa: F401
        from pyhive import hive  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'the driver is missing ({error}): pip install "metlog[hive]"') from error
