"""What the page is told at start: where the data is, who may see what, and how much a query may cost."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from msgspec import Meta, Struct

from metlog.alerts.config import AlertSettings, alerts_of
from metlog.config.sources import foreign
from metlog.errors import Problems
from metlog.plugins.schema import Seconds, Size, checked

__all__ = ["Access", "WebSettings", "load", "token_digest"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ENGINE_TIMEOUT: Final = 300.0
"""Seconds that a query of another engine may take, unless told."""
_LOOPBACK_PROXIES: Final = ("127.0.0.1/32", "::1/128")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_SHORTEST_TOKEN: Final = 16


class Access(Struct, frozen=True):
    """Who somebody is and what they may do. `loggers` None means every service."""

    name: str
    loggers: tuple[str, ...] | None = None
    save: bool = True
    """Whether they may turn a query into a report."""

    @property
    def everything(self) -> bool:
        """True when no service is hidden from them."""
        return self.loggers is None


class WebSettings(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. Made by `load`, which checks it; or by hand in tests."""

    data: Path | None = None
    """The data folder; None when an engine is asked that needs none."""
    engine: str | None = None
    """URL of another engine than DuckDB over the data folder."""
    host: str = "127.0.0.1"
    port: int = 8565
    tokens: dict[bytes, Access] = {}
    """Access by SHA-256 of a token."""
    user_header: str | None = None
    """Header in which a reverse proxy says who the user is."""
    users: dict[str, Access] = {}
    """Users known by name; when there are any, no others are let in."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses whose `user_header` is believed."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which the page may be asked for, beside loopback names and IP addresses."""
    save: bool = True
    dashboards: Path | None = None
    """Folder with dashboards, each a TOML file, beside those of the data folder."""
    timeout: float = 30.0
    memory: str = "2GB"
    spill: str = "4GB"
    rows: int = 1000
    """Rows shown on the page, and given by the API when it is not told."""
    max_rows: int = 10_000
    """Rows that a request to the API can ask for."""
    export_bytes: int = 256 << 20
    max_body: int = 1 << 20
    workers: int = 4
    """Queries that run at once."""
    waiting: int = 16
    """Queries of one token (or user, or address) that may wait for a worker; more are told to come back."""
    tails: int = 32
    """Live tails at once; a token may have a quarter of them."""
    requests: int = 64
    """Requests that are answered at once, live tails aside; beyond that 503."""
    connections: int = 512
    """Open connections."""
    connections_each: int = 64
    """Open connections of one address (of a /64, for IPv6); not of loopback, and not of trusted proxies."""
    head_timeout: float = 10.0
    """In which the head of a request must have come,"""
    body_timeout: float = 30.0
    """its body,"""
    answer_timeout: float = 60.0
    """and something of its answer must be taken; else the connection is closed."""
    alerts: AlertSettings = AlertSettings()
    """What the page itself evaluates."""

    @property
    def demands(self) -> bool:
        """Whether a visitor must say who they are."""
        return bool(self.tokens) or self.user_header is not None

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


class _Token(Struct, forbid_unknown_fields=True):
    name: str = ""
    token: str | None = None
    sha256: str | None = None
    loggers: list[str] | None = None
    save: bool | None = None


class _User(Struct, forbid_unknown_fields=True):
    name: str
    loggers: list[str] | None = None
    save: bool | None = None


Entry = TypeVar("Entry", _Token, _User)


class _File(Struct, forbid_unknown_fields=True):
    """The TOML file of `metlog serve --config`."""

    engine: str | None = None
    host: str | None = None
    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    tokens: list[_Token] = []
    user_header: str | None = None
    users: list[_User] = []
    trusted_proxies: list[str] | None = None
    allowed_hosts: list[str] = []
    save: bool = True
    dashboards: str | None = None
    timeout: Annotated[Seconds, Meta(gt=0, le=3600)] | None = None
    memory: str | None = None
    spill: str | None = None
    rows: Annotated[int, Meta(ge=1)] | None = None
    max_rows: Annotated[int, Meta(ge=1)] | None = None
    export_bytes: Annotated[Size, Meta(ge=1)] | None = None
    workers: Annotated[int, Meta(ge=1, le=64)] | None = None
    waiting: Annotated[int, Meta(ge=0)] | None = None
    tails: Annotated[int, Meta(ge=1)] | None = None
    requests: Annotated[int, Meta(ge=1)] | None = None
    connections: Annotated[int, Meta(ge=1)] | None = None
    connections_each: Annotated[int, Meta(ge=1)] | None = None
    head_timeout: Annotated[Seconds, Meta(gt=0, le=3600)] | None = None
    body_timeout: Annotated[Seconds, Meta(gt=0, le=3600)] | None = None
    answer_timeout: Annotated[Seconds, Meta(gt=0, le=3600)] | None = None


_PLAIN: Final = (
    "timeout", "memory", "spill", "rows", "max_rows", "export_bytes", "workers", "waiting", "tails", "requests", "connections",
    "connections_each", "head_timeout", "body_timeout", "answer_timeout",
)  # fmt: skip


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load(
    data: Path | None,
    *,
    engine: str | None = None,
    config: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    token: str | None = None,
    token_file: Path | None = None,
    user_header: str | None = None,
    trusted_proxies: list[str] | None = None,
    allowed_hosts: list[str] | None = None,
    read_only: bool = False,
    timeout: float | None = None,
) -> WebSettings:
    """Settings from a TOML file and the command line, which wins. Raises ConfigError with every fault at once."""
    problems = Problems()
    file, alerts = _read(config, data, problems)
    header = user_header if user_header is not None else file.user_header
    if header is not None and not _HEADER.fullmatch(header):
        problems.add(f"user_header = {header!r}: wants the name of a header, such as X-Remote-User")
    tokens = _tokens(file.tokens, problems)
    for where, text in (("token", token), ("token_file", _token_of(token_file, problems))):
        if text is not None:
            _add(tokens, text, Access("token"), where, problems)
    users = {user.name: _access(user.name, user.loggers, user.save) for user in file.users}
    if users and header is None:
        problems.add("users: there are users, and no user_header that says who is asking")
    given = trusted_proxies or file.trusted_proxies
    if given and header is None:
        problems.add("trusted_proxies: wants user_header too, the header in which these proxies name the user")
    networks = _networks(given if given else list(_LOOPBACK_PROXIES) if header else [], problems)
    bind = host or file.host or "127.0.0.1"
    if not is_loopback(bind) and not tokens and header is None:
        problems.add(
            f"host = {bind!r}: other machines can reach this address, so the page must know who is asking; "
            "give --token-file FILE, or --user-header NAME behind a reverse proxy, or leave it at 127.0.0.1"
        )
    boards = None if file.dashboards is None else (config.parent if config else Path()) / file.dashboards
    if boards is not None and not boards.is_dir():
        problems.add(f"dashboards = {file.dashboards!r}: no such folder")
    problems.check()
    plain = {key: value for key in _PLAIN if (value := getattr(file, key)) is not None}
    if engine or file.engine:
        plain.setdefault("timeout", _ENGINE_TIMEOUT)
    if timeout is not None:
        plain["timeout"] = timeout
    bound = port if port is not None else file.port
    if bound is not None:
        plain["port"] = bound
    return WebSettings(
        data=data,
        engine=engine or file.engine,
        host=bind,
        tokens=tokens,
        user_header=header,
        users=users,
        trusted_proxies=networks,
        allowed_hosts=tuple(name.lower() for name in [*(allowed_hosts or []), *file.allowed_hosts]),
        save=file.save and not read_only,
        alerts=alerts,
        dashboards=boards,
        **plain,
    )


def _read(path: Path | None, data: Path | None, problems: Problems) -> tuple[_File, AlertSettings]:
    if path is None:
        return _File(), AlertSettings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problems.add(f"{path}: {error.strerror}")
        return _File(), AlertSettings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.add(f"{path}: {error}")
        return _File(), AlertSettings()
    if other := foreign(table, [*_File.__struct_fields__, "alerts", "alerting"]):
        problems.add(f"{path}: {other}")
        return _File(), AlertSettings()
    found = Problems()
    tokens = _tables(_Token, table.pop("tokens", []), "tokens", found)
    users = _tables(_User, table.pop("users", []), "users", found)
    said: dict[str, Any] = {key: table.pop(key) for key in ("alerts", "alerting") if key in table}
    alerts = alerts_of(said, data, found, in_listener=False)
    file = _File(**checked(_File, table, "", found), tokens=tokens, users=users)
    for line in found.lines:
        problems.add(f"{path}: {line}")
    return file, alerts


def _tables(kind: type[Entry], value: object, where: str, problems: Problems) -> list[Entry]:
    """The entries of a list of tables; one with a fault is left out."""
    if not isinstance(value, list):
        problems.add(f"{where} = {value!r}: wants a list of tables, as [[{where}]]")
        return []
    entries = []
    for index, item in enumerate(value):
        place = f"{where}[{index}]"
        if not isinstance(item, dict):
            problems.add(f"{place}: wants a table")
            continue
        known = len(problems.lines)
        values = checked(kind, item, place, problems)
        if len(problems.lines) == known:
            entries.append(kind(**values))
    return entries


def _token_of(path: Path | None, problems: Problems) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.add(f"token_file = {str(path)!r}: {getattr(error, 'strerror', None) or error}")
        return None
    if not text:
        problems.add(
            f"token_file = {str(path)!r}: is empty; write a token into it, such as `openssl rand -hex 32` gives"
        )
        return None
    return text


def _tokens(entries: list[_Token], problems: Problems) -> dict[bytes, Access]:
    tokens: dict[bytes, Access] = {}
    for index, entry in enumerate(entries):
        where = f"tokens[{index}]"
        access = _access(entry.name or f"token {index + 1}", entry.loggers, entry.save)
        if (entry.token is None) == (entry.sha256 is None):
            problems.add(f"{where}: wants either `token` or `sha256`")
        elif entry.token is not None:
            _add(tokens, entry.token, access, f"{where}.token", problems)
        elif not re.fullmatch(r"[0-9a-fA-F]{64}", entry.sha256 or ""):
            problems.add(f"{where}.sha256 = {entry.sha256!r}: wants 64 hexadecimal digits, as `sha256sum` prints")
        else:
            tokens[bytes.fromhex(entry.sha256 or "")] = access
    return tokens


def _add(tokens: dict[bytes, Access], text: str, access: Access, where: str, problems: Problems) -> None:
    if len(text) < _SHORTEST_TOKEN or any(not 0x20 < ord(c) < 0x7F for c in text):
        problems.add(
            f"{where}: a token has at least {_SHORTEST_TOKEN} printable ASCII characters and no spaces, "
            "such as `openssl rand -hex 32` gives"
        )
    elif token_digest(text) in tokens:
        problems.add(f"{where}: this token is given twice")
    else:
        tokens[token_digest(text)] = access


def _access(name: str, loggers: list[str] | None, save: bool | None) -> Access:
    # Who sees one service only should not, unasked, put reports before everybody.
    return Access(name, None if loggers is None else tuple(loggers), loggers is None if save is None else save)


def _networks(texts: list[str], problems: Problems) -> tuple[Network, ...]:
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            problems.add(f"trusted_proxies: {text!r} is no address or network: {error}")
    return tuple(networks)
