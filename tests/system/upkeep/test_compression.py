"""The lake output's compression, by a listener that runs."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.listener import Listener, metlog_command


@pytest.mark.parametrize("codec", ["snappy", "gzip", "zstd"])
def test_a_listener_writes_files_with_the_compression_that_it_was_told(tmp_path: Path, codec: str) -> None:
    config = tmp_path / "listener.toml"
    config.write_text(
        f'[[inputs]]\nname = "udp"\nport = 0\n\n[[outputs]]\nname = "lake"\ncompression = "{codec}"\n', "utf-8"
    )
    listener = Listener(tmp_path / "data", "--config", str(config))
    try:
        done = metlog_command("send", "--to", listener.address("udp"), "hello")
        assert done.returncode == 0, done.stderr
    finally:
        assert listener.stop() == 0
    metlog_command("query", "SELECT 1", "--data", str(tmp_path / "data"))
    files = list((tmp_path / "data" / "events").rglob("*.parquet"))
    assert len(files) == 1
    assert pq.read_metadata(files[0]).row_group(0).column(0).compression == codec.upper()


def test_another_compression_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "listener.toml"
    config.write_text(
        '[[inputs]]\nname = "udp"\nport = 0\n\n[[outputs]]\nname = "lake"\ncompression = "lzo"\n', "utf-8"
    )
    done = metlog_command("listen", "--check", "--config", str(config), "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "compression" in done.stderr
    assert "snappy" in done.stderr
