"""The listener's TOML file: checked whole before anything is opened, all faults at once, each with key, value and remedy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from metlog.errors import ConfigError
from metlog.listener.adapt import adapt_output
from metlog.listener.config import ListenerConfig, from_file, from_mapping
from metlog.listener.delivery.batches import limits_of
from tests.helpers.paths import ROOT

DOCS = ROOT / "docs/listener.md"

WRONG = """
[listener]
data = 3
jornal = "x"
stall_after = "soon"
streams = 0

[journal]
sync = "sometimes"
segment_bytes = "1XB"
max_bytes = 10
sync_interval = 100

[outputz]

[[inputs]]
name = "udq"

[[inputs]]
name = "udp"
prt = 3

[[inputs]]
name = "udp"
port = 70000

[[inputs]]
name = "http"
port = "x"

[[inputs]]
name = "http"
cert_file = "/nowhere/cert.pem"

[[inputs]]
port = 3

[[outputs]]
name = "lake"
compression_level = 40

[[outputs]]
name = "file"
path = "x"
types = "counter"
batch_events = 0

[[outputs]]
name = "file"
path = "y"
severity_max = 8

[[outputs]]
name = "statsd"
id = "../x"

[[outputs]]
name = "http"
id = "web"
batch_bytes = "some"
"""
TOLD = """
outputz: no such table; did you mean 'outputs'?
listener.data = 3: wants a path, as a text
listener.jornal: no such setting; did you mean 'journal'?
listener.stall_after = 'soon': wants seconds, as 60 or "60s"
listener.streams = 0: wants 1 or more
journal.sync = 'sometimes': wants one of always, interval, never
journal.segment_bytes = '1XB': wants bytes, as 67108864 or "64MB"
journal.max_bytes = 10: wants room for two segments
journal.sync_interval = 100: wants 0.001 to 60 seconds
inputs[0] = 'udq': no such input; did you mean 'udp'?
inputs[1].prt = 3: input 'udp' has no such option; did you mean 'port'?
udp.port = 70000: wants 0 to 65535
inputs[3].port = 'x': wants a whole number
cert_file = '/nowhere/cert.pem': cannot be used
inputs[5].name = None: a component's table needs its name
lake.compression_level = 40: wants 1 to 19
outputs[1].batch_events = 0: wants 1 or more
outputs[2].severity_max = 8: wants 0 to 7
outputs[2].id = 'file': another output has this id
outputs[3].id = '../x': wants letters, digits, _ and -
outputs[4].batch_bytes = 'some': wants bytes
"""


def listen(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metlog", "listen", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)


@pytest.mark.process
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_every_fault_is_told_at_once_and_nothing_is_opened(check: list[str], tmp_path: Path) -> None:
    file = tmp_path / "listener.toml"
    file.write_text(WRONG)
    done = listen(*check, "--config", str(file), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    told = done.stderr.splitlines()
    for expected in filter(None, TOLD.splitlines()):
        found = [line for line in told if expected in line]
        assert len(found) == 1, (expected, done.stderr)
        assert found[0].startswith(f"metlog listen: {file}: ")
    assert len(told) == len(TOLD.strip().splitlines()), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["listener.toml"]


@pytest.mark.process
def test_a_right_configuration_is_checked_without_a_start(tmp_path: Path) -> None:
    file = tmp_path / "listener.toml"
    file.write_text(first_example(tmp_path / "data"))
    done = listen("--check", "--config", str(file), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "the configuration is right: udp, http, lake, statsd\n",
        "",
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.process
def test_a_file_that_is_no_toml_is_one_line_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "listener.toml"
    file.write_text("[journal\n")
    done = listen("--config", str(file), cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(rf"metlog listen: {file}: .*line 1.*\n", done.stderr)
    done = listen("--config", str(tmp_path / "not there"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        f"metlog listen: {tmp_path / 'not there'}: No such file or directory\n",
    )


def first_example(data: Path) -> str:
    found = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1].replace("/var/lib/metlog", str(data))


def test_units_and_defaults(tmp_path: Path) -> None:
    file = tmp_path / "listener.toml"
    file.write_text(first_example(tmp_path))
    found = from_file(file)
    assert found.journal.max_bytes == 20 << 30
    assert [(item.id, item.route.types) for item in found.outputs] == [("lake", ()), ("statsd", ("counter", "timer"))]
    general = from_mapping({"listener": {"clock_past": "2d", "stall_after": "1.5m", "dead_bytes": "1k"}}).general
    assert (general.clock_past, general.stall_after, general.dead_bytes) == (172_800, 90, 1024)
    assert from_mapping({"journal": {"sync_interval": "20ms"}}).journal.sync_interval == 0.02


def ids(config: ListenerConfig) -> list[str]:
    return [item.id for item in config.inputs]


def test_without_anything_it_is_udp_into_the_lake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = from_mapping({})
    assert [(item.component.name, item.component.options) for item in found.inputs] == [
        ("udp", {"host": "127.0.0.1", "port": 5565})
    ]
    assert [item.id for item in found.outputs] == ["lake"]
    assert found.general.data == Path("metlog-data")
    monkeypatch.setenv("METLOG_DATA", str(tmp_path))
    assert from_mapping({}).general.data == tmp_path
    assert from_mapping({"listener": {"data": "/other"}}).general.data == Path("/other")
    assert from_mapping({"listener": {"data": "/other"}}, data=Path("/given")).general.data == Path("/given")


def test_the_command_line_replaces_the_inputs_of_its_names_only() -> None:
    settings = {"inputs": [{"name": "udp", "port": 1}, {"name": "udp", "port": 2}, {"name": "http", "port": 3}]}
    assert ids(from_mapping(settings)) == ["udp", "udp-2", "http"]
    found = from_mapping(settings, inputs=[{"name": "udp", "port": 4}])
    assert [(item.id, item.component.options["port"]) for item in found.inputs] == [("http", 3), ("udp", 4)]


def test_without_an_output_nothing_would_ever_leave_the_journal() -> None:
    with pytest.raises(ConfigError, match="outputs: wants one at least"):
        from_mapping({"outputs": []})


def test_inputs_of_the_command_line_add_to_the_default() -> None:
    statsd, http = {"name": "statsd", "port": 0}, {"name": "http", "port": 0}
    assert ids(from_mapping({})) == ["udp"]
    assert ids(from_mapping({}, inputs=[statsd, http])) == ["udp", "statsd", "http"]
    assert ids(from_mapping({}, inputs=[{"name": "udp", "port": 0}, http])) == ["udp", "http"]
    assert ids(from_mapping({}, inputs=[http], without={"udp"})) == ["http"]
    found = from_mapping({"inputs": [http]}, inputs=[statsd]).inputs
    assert [item.id for item in found] == ["http", "statsd"]  # a file that names inputs has no default one
    with pytest.raises(ConfigError, match="none left"):
        ids(from_mapping({}, without={"udp"}))


def test_a_senders_configuration_is_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"sender: this is the configuration of a sender \(`metlog.configure`\)"):
        from_mapping({"sender": "udp:127.0.0.1:5565"})


@pytest.mark.parametrize("uri", ["s3://", "hdfs:///x", "foo://x"])
def test_a_uri_that_names_nothing_is_no_folder(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"names no (bucket|host)|no storage of this kind"):
        from_mapping({}, data=uri)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("", "{data}/"),
        ("file://{data}", ""),
        ("{data}/../data", "file://localhost{data}/"),
        ("{data}-link", "{data}"),
        ("s3://bucket/lake", "s3a://bucket//lake/?region=eu-central-1"),
        ("s3://bucket/lake?endpoint=http://127.0.0.1:9000", "s3://bucket/lake?endpoint=http://127.0.0.1:9000/"),
    ],
)
def test_two_lakes_in_one_place_are_refused(first: str, second: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "data-link").symlink_to(data)
    outputs = [
        {"name": "lake", "id": "lake-a", "types": ["a"], "uri": first.format(data=data)},
        {"name": "stdout"},
        {"name": "lake", "id": "lake-b", "types": ["b"], "uri": second.format(data=data)},
    ]
    told = r"outputs\[2\]: the lakes 'lake-a' and 'lake-b' would overwrite each other's files in .*; keep one"
    with pytest.raises(ConfigError, match=told):
        from_mapping({"listener": {"data": str(data)}, "outputs": outputs})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", "{data}/elsewhere"),
        ("", "s3://bucket/lake"),
        ("s3://bucket/lake", "s3://bucket/other"),
        ("s3://bucket/lake?endpoint=http://127.0.0.1:9000", "s3://bucket/lake?endpoint=http://127.0.0.1:9001"),
    ],
)
def test_two_lakes_in_different_places_are_two_lakes(first: str, second: str, tmp_path: Path) -> None:
    outputs = [
        {"name": "lake", "id": number, "uri": uri.format(data=tmp_path)}
        for number, uri in (("one", first), ("two", second))
    ]
    found = from_mapping({"listener": {"data": str(tmp_path)}, "outputs": outputs})
    assert [item.id for item in found.outputs] == ["one", "two"]


def test_a_data_folder_on_shared_storage_has_one_lake() -> None:
    with pytest.raises(
        ConfigError, match="the lakes 'lake' and 'second' would overwrite each other's files in s3://b/p"
    ):
        from_mapping({"outputs": ["lake", {"name": "lake", "id": "second"}]}, data="s3://b/p", state="/var/lib/x")


def test_two_outputs_with_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    paths = [f"{tmp_path}/a", f"{tmp_path}/b", f"{tmp_path}/link/a"]
    outputs = [{"name": "file", "id": f"file{n}", "path": path} for n, path in enumerate(paths)]
    with pytest.raises(
        ConfigError, match=r"outputs\[2\]: the outputs 'file0' and 'file2' have the same file, .*/a, and"
    ):
        from_mapping({"outputs": outputs})
    assert len(from_mapping({"outputs": outputs[:2]}).outputs) == 2


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ({"batch_event": 5}, "batch_defaults.batch_event = 5: no such setting; did you mean 'batch_events'?"),
        ({"batch_age": -1}, "batch_defaults.batch_age = -1: wants more than 0 seconds"),
        ({"batch_events": "many"}, "batch_defaults.batch_events = 'many': wants a whole number"),
        (5, "batch_defaults = 5: wants limits of a batch by name"),
    ],
)
def test_an_output_s_own_limits_are_checked_with_the_configuration(
    monkeypatch: pytest.MonkeyPatch, defaults: object, told: str
) -> None:
    monkeypatch.setattr("metlog.listener.outputs.stdout.StdoutOutput.batch_defaults", defaults)
    with pytest.raises(ConfigError) as error:
        from_mapping({"outputs": ["stdout"]})
    assert f"outputs[0].{told}" in str(error.value)


def test_an_output_s_own_limits_have_units_as_the_configuration_s_do(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {"batch_age": "5s", "batch_bytes": "64KB"}
    monkeypatch.setattr("metlog.listener.outputs.stdout.StdoutOutput.batch_defaults", defaults)
    output = from_mapping({"outputs": ["stdout"]}).outputs[0]
    limits = limits_of(adapt_output(output.component.build()), output.limits, "outputs[0]")
    assert (limits.batch_age, limits.batch_bytes) == (5.0, 65_536)
