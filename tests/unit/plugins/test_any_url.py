"""Whatever stands where a URL is wanted: what comes of it is a ConfigError, or something that can be tried."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.engines.ddl import location_of
from metlog.engines.metastore import Metastore
from metlog.errors import ConfigError
from metlog.lake.storage import check_uri
from metlog.lake.uris import is_remote, local_path, place_of
from metlog.plugins import check
from tests.helpers.paths import ROOT

WANTED: dict[str, tuple[Callable[[str], Any], tuple[str, ...]]] = {
    "sender": (
        lambda url: check("sender", url, "sender").build(),
        ("udp", "tcp", "zmq", "http", "file", "tee", "nope"),
    ),
    "engine": (lambda url: check("engine", url, "engine"), ("hive", "spark", "clickhouse", "duckdb")),
    "storage": (check_uri, ("s3", "s3a", "gs", "az", "abfss", "hdfs", "ftp", "file")),
    "place": (lambda url: place_of(url, ROOT) if not is_remote(url) else None, ("file", "")),
    "folder": (local_path, ("file",)),
    "metastore": (Metastore, ("thrift", "http")),
    "location": (lambda url: location_of(None, url), ("s3a", "hdfs", "file", "abfs")),
}
PARTS = st.lists(
    st.sampled_from([*"/:@?#&=[]%² \né℀", "//", "%zz", "%00", "host", "::1", "9000", "99999", "a=b"]), max_size=8
).map("".join)


@pytest.mark.parametrize("what", WANTED)
@given(st.data())
def test_any_url(what: str, data: st.DataObject) -> None:
    take, schemes = WANTED[what]
    url = data.draw(st.sampled_from(schemes)) + data.draw(st.sampled_from(["://", ":", ""])) + data.draw(PARTS)
    with contextlib.suppress(ConfigError):
        take(url)


@pytest.mark.parametrize("path", ["file:///a%00b", "/a\0b"])
def test_a_path_with_a_nul_character(path: str) -> None:
    with pytest.raises(ConfigError, match="no NUL character"):
        place_of(path, ROOT)
