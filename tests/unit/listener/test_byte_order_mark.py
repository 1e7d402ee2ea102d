"""Files that people write for a listener and what stands beside it may begin with the mark of UTF-8, as editors on Windows write it."""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path

import httpx
import pytest

from metlog.alerts.targets.webhook import WebhookTarget
from metlog.engines.hiveserver2 import _password
from metlog.lake.upkeep.importing import import_file
from metlog.listener.config import from_file
from metlog.listener.inputs.http import _tokens
from metlog.listener.outputs.http import HttpOutput
from metlog.listener.signed import signing_of
from metlog.reports.library import Library
from metlog.web.settings import load

SECRET = "a secret of some length, long enough"


def write(path: Path, text: str) -> Path:
    path.write_bytes(BOM_UTF8 + text.replace("\n", "\r\n").encode())
    return path


def test_the_configuration_of_a_listener(tmp_path: Path) -> None:
    assert from_file(write(tmp_path / "l.toml", '[listener]\njournal = "other"\n')).general.journal == "other"


def test_the_configuration_of_the_page_and_its_token(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    config = write(tmp_path / "page.toml", "max_rows = 7\n")
    write(tmp_path / "token", f"{SECRET.replace(' ', '-')}\n")
    (tmp_path / "plain").write_text(f"{SECRET.replace(' ', '-')}\n")
    marked, plain = (load(tmp_path / "data", config=config, token_file=tmp_path / name) for name in ("token", "plain"))
    assert (marked.max_rows, marked.tokens) == (7, plain.tokens)


def test_tokens_and_keys_of_inputs(tmp_path: Path) -> None:
    assert _tokens("", str(write(tmp_path / "tokens", "one\ntwo\n"))) == ["one", "two"]
    keys = str(write(tmp_path / "keys", f"# ours\nid {SECRET}\n"))
    signing = signing_of("here", keys=None, keys_file=keys, signed=None, replay_window=None)
    assert signing is not None
    assert signing.keys == {"id": SECRET.encode()}


def test_the_token_of_an_output(tmp_path: Path) -> None:
    out = HttpOutput(port=1, token_file=str(write(tmp_path / "token", "one\n")))
    out.start()
    assert isinstance(out._client, httpx.Client)
    assert out._client.headers["authorization"] == "Bearer one"
    out.close()


def test_secrets_of_targets_and_engines(tmp_path: Path) -> None:
    file = write(tmp_path / "secret", "one\n")
    assert WebhookTarget(url="http://127.0.0.1:1/", secret_file=str(file))._secret() == b"one"
    assert _password("LDAP", file) == "one"


def test_a_report(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    write(tmp_path / "reports" / "mine.toml", 'title = "Mine"\nsql = "SELECT 1 AS n"\n')
    library = Library(tmp_path)
    assert (library["mine"].title, library.broken) == ("Mine", [])


@pytest.mark.parametrize("text", ['{"ts":1,"a":1}\n{"ts":2,"a":2}\n', '[{"ts":1,"a":1},\n{"ts":2,"a":2}]'])
def test_what_is_imported(text: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = import_file(tmp_path / "data", write(tmp_path / "old.json", text))
    assert (done.events, done.skipped) == (2, 0)
