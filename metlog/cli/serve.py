"""`metlog serve`: the web page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from metlog.cli.common import DataOption, UsageError, data_folder, existing_data_folder
from metlog.cli.engine import EngineOption

__all__ = ["serve"]


def serve(
    data: DataOption = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="H", help="Address to listen on; 127.0.0.1 by default.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="P", min=0, max=65535, help="8565 by default; 0 takes a free one.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="TOML file with tokens, users and limits; see docs/page.md."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Demand the token that this file holds.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="METLOG_PAGE_TOKEN",
            help="Demand this token; other processes see it on the command line, so prefer the file or the variable.",
        ),
    ] = None,
    user_header: Annotated[
        str | None,
        typer.Option(
            "--user-header", metavar="NAME", help="Believe this header of a trusted proxy about who the user is."
        ),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy", metavar="ADDRESS", help="Address or network of that proxy; loopback by default."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A host name under which the page may be asked for."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.1, max=3600, help="Seconds that a query may take; 30 by default.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Let nobody save a query as a report.")] = False,
    engine: EngineOption = None,
) -> None:
    """Serve the page: overview, reports, charts, live tail, search and SQL. Ends with SIGTERM or Ctrl-C."""
    from metlog.web.server import AddressError
    from metlog.web.server import serve as run
    from metlog.web.settings import load

    logging.basicConfig(format="metlog serve: %(message)s", level=logging.WARNING)
    folder = existing_data_folder(data) if engine is None or data is not None else data_folder(None)
    settings = load(
        folder.absolute() if folder.is_dir() else None,
        engine=engine,
        config=config,
        host=host,
        port=port,
        token=token,
        token_file=token_file,
        user_header=user_header,
        trusted_proxies=trusted_proxy,
        allowed_hosts=allow_host,
        read_only=read_only,
        timeout=timeout,
    )

    def ready(address: str) -> None:
        print(f"the page is at {address}")
        print("ready", flush=True)

    try:
        run(settings, ready)
    except AddressError as error:
        raise UsageError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; choose another --port or --host"
        ) from error
