"""`metlog doctor`: a checklist of the configuration, what it reaches, the machine and the listener."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from metlog.cli.common import DataOption, data_folder
from metlog.config.sources import sources
from metlog.diagnose.doctor import Finding, Verdict, check_settings, check_threads

__all__ = ["doctor"]

_EXTRAS = {"zmq": "zmq", "http": "httpx", "listener": "duckdb", "web": "starlette", "kafka": "confluent_kafka"}


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A sending configuration (TOML or INI); METLOG_… variables without it."),
    ] = None,
    listener: Annotated[
        Path | None, typer.Option("--listener", help="A listener's TOML file, checked as well.")
    ] = None,
    data: DataOption = None,
    graphite: Annotated[
        Path | None,
        typer.Option("--graphite", help="Folder with storage-schemas.conf and storage-aggregation.conf of carbon."),
    ] = None,
    statsd_flush: Annotated[
        float, typer.Option("--statsd-flush", min=0.001, max=86400, help="statsd's flush interval in seconds.")
    ] = 10.0,
) -> None:
    """Check configuration and reachability, and say what to do; exit 1 when something fails."""
    failed = 0
    for finding in _all(config, listener, data, graphite, statsd_flush):
        failed += finding.verdict is Verdict.FAIL
        typer.echo(f"{finding.verdict.value:<5} {finding.what}")
        if finding.remedy:
            typer.echo(f"      -> {finding.remedy}")
    if failed:
        typer.echo(f"\n{failed} to mend")
        raise typer.Exit(1)


def _all(
    config: Path | None, listener: Path | None, data: Path | None, graphite: Path | None, statsd_flush: float
) -> Iterator[Finding]:
    yield from _installed()
    if config is not None or (listener is None and data is None) or sources():
        yield from check_settings(config)
    if listener is not None:
        yield from _listener(listener)
    folder = data_folder(data)
    if data is not None or folder.is_dir():
        yield from _data(folder)
    yield from _kernel()
    if graphite is not None:
        yield from _graphite(graphite, statsd_flush)


def _installed() -> Iterator[Finding]:
    from metlog import __version__

    yield Finding(Verdict.OK, f"metlog {__version__} on Python {sys.version.split()[0]}")
    missing = [extra for extra, module in _EXTRAS.items() if find_spec(module) is None]
    if missing:
        yield Finding(
            Verdict.OK,
            f"extras not installed: {', '.join(missing)}",
            f"pip install 'metlog[{','.join(missing)}]' if wanted",
        )
    yield from check_threads()


def _listener(path: Path) -> Iterator[Finding]:
    from metlog.errors import ConfigError
    from metlog.listener.config import from_file

    try:
        checked = from_file(path)
    except ConfigError as error:
        for line in error.problems:
            yield Finding(Verdict.FAIL, line)
    else:
        yield Finding(Verdict.OK, f"{path}: {len(checked.inputs)} inputs, {len(checked.outputs)} outputs")


def _data(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        yield Finding(
            Verdict.FAIL,
            f"data folder {folder}: is not there",
            "start `metlog listen --data` with it, or correct --data",
        )
        return
    usage = shutil.disk_usage(folder)
    free = usage.free / usage.total
    room = f"data folder {folder}: {usage.free / 1e9:.1f} GB free ({free:.0%})"
    yield Finding(
        Verdict.OK if free > 0.05 else Verdict.WARN, room, "" if free > 0.05 else "make room, or expire old days"
    )
    from metlog.listener.overview import told

    for name in told(folder):
        yield from _status(folder, name)


def _status(folder: Path, name: str) -> Iterator[Finding]:
    from metlog.journal.inspect import STATUS_AHEAD, status_file

    whose = "the listener" if name == "main" else f"the listener {name}"
    file = folder / status_file(name)
    try:
        status: dict[str, Any] = json.loads(file.read_text("utf-8"))
        age = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        yield Finding(Verdict.WARN, "no listener has written its status here", "start `metlog listen`")
        return
    except (OSError, ValueError) as error:
        yield Finding(Verdict.FAIL, f"{file}: {error}", "check its mode; this user must be able to read it")
        return
    if status.get("running") is False:
        yield Finding(Verdict.WARN, f"{whose} was stopped {age:.0f} s ago", "start `metlog listen`")
    elif not -STATUS_AHEAD < age <= 30:  # far ahead: it was written before the clock was set back
        yield Finding(
            Verdict.FAIL,
            f"the status of {whose} is {age:.0f} s old"
            if age > 0
            else f"the status of {whose} lies {-age:.0f} s ahead",
            "it does not run, or hangs; start `metlog listen`",
        )
    from metlog.diagnose.listener import diagnose

    yield from diagnose(status)


def _kernel() -> Iterator[Finding]:
    try:
        most = int(Path("/proc/sys/net/core/rmem_max").read_text("ascii"))
    except (OSError, ValueError):
        return
    if most < 4 << 20:
        yield Finding(
            Verdict.WARN,
            f"net.core.rmem_max is {most:,} bytes: a burst of datagrams overruns a listener on this machine",
            "sysctl -w net.core.rmem_max=8388608 (a listener with CAP_NET_ADMIN takes what it needs by itself)",
        )
    else:
        yield Finding(Verdict.OK, f"net.core.rmem_max is {most:,} bytes")


def _graphite(folder: Path, flush: float) -> Iterator[Finding]:
    from metlog.diagnose.graphite import check

    texts = []
    for name in ("storage-schemas.conf", "storage-aggregation.conf"):
        try:
            texts.append((folder / name).read_text("utf-8"))
        except OSError as error:
            if name == "storage-aggregation.conf" and isinstance(error, FileNotFoundError):
                texts.append("")  # Debian installs none: carbon goes by its defaults
                continue
            yield Finding(
                Verdict.FAIL, f"{folder / name}: {error.strerror}", "give the folder with carbon's configuration"
            )
            return
    findings = check(flush, *texts)
    for text in findings:  # each of them makes wrong numbers, and none of them an error that anybody would see
        what, _, remedy = text.rpartition("; ")
        yield Finding(Verdict.FAIL, f"graphite: {what or remedy}", remedy if what else "")
    if not findings:
        yield Finding(Verdict.OK, f"graphite keeps what statsd flushes every {flush:g} s")
