from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import metlog
from metlog import ConfigError, MetlogClient
from metlog.config import from_prefixed, gather, plan
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.senders.memory import MemorySender


def problems(settings: Any = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan(gather(settings, more))
    return caught.value.problems


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sender": "upd"}, ["sender", "'upd'", "'udp'"]),
        ({"encoder": "jsn"}, ["encoder", "'jsn'", "'json'"]),
        ({"filters": ["severty_max"]}, ["filters[0]", "'severity_max'"]),
        ({"sender": {"name": "udp", "prot": 1}}, ["sender.prot", "'port'"]),
        ({"sender": "udp://h:99999999"}, ["sender", "99999999"]),
        ({"sender": "udp://h?max_frame=big"}, ["sender.max_frame = 'big'", "wants bytes"]),
        ({"sender": {"host": "h"}}, ["sender.name"]),
        ({"sender": 7}, ["sender", "7", "int"]),
        ({"sender": "udp://u:secret@h"}, ["must not hold"]),
        ({"sender": "null:#x"}, ["fragment"]),
        ({"filters": {"name": "sample"}}, ["filters", "list"]),
        ({"filters": [{"name": "severity_max"}]}, ["filters[0].severity", "needs"]),
        ({"sneder": 1}, ["sneder", "'sender'"]),
        ({"buffer": {"flush_interval": -1}}, ["buffer.flush_interval", "0 to 3600 seconds"]),
        ({"buffer": {"max_fram": 1}}, ["buffer.max_fram", "'max_frame'"]),
        ({"exit_timeout": -1}, ["exit_timeout", "-1"]),
        ({"on_drop": "hook"}, ["on_drop", "'hook'", "callable"]),
    ],
)
def test_a_fault_names_key_value_and_remedy(settings: dict[str, Any], words: list[str]) -> None:
    (line,) = problems(settings)
    for word in words:
        assert word in line


def test_all_faults_are_told_at_once() -> None:
    found = problems({"sender": "upd", "encoder": "jsn", "filters": ["x", "y"], "logger": 3, "nope": 1})
    assert len(found) == 6


def test_a_password_in_a_url_is_refused_without_repeating_it() -> None:
    assert "hunter2" not in problems("udp://u:hunter2@h")[0]


def test_a_configure_that_raises_changes_nothing() -> None:
    client = MetlogClient.from_config("memory:", logger="a")
    sender = client.sender
    with pytest.raises(ConfigError):
        client.configure({"sender": "memory:", "filters": [{"name": "severity_max", "severity": 9}]})
    assert client.sender is sender
    client.log("x")
    assert client.flush(5)
    client.close()


def test_options_of_a_url_are_converted_by_annotation() -> None:
    client = MetlogClient.from_config("memory:?max_frame=1432&limit=7")
    assert (client.sender.max_frame, client.sender.frames.maxlen) == (1432, 7)
    client.close()


@pytest.mark.parametrize("name", ["c.toml", "c.ini"])
def test_files_give_the_same_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_ENV", "svc")
    text = {
        "c.toml": '[metlog]\nlogger = "${FROM_ENV}"\nfilters = [{name = "severity_max", severity = 4}]\n'
        '[metlog.sender]\nname = "memory"\nmax_frame = 999\n[metlog.buffer]\nflush_interval = 0.5\n',
        "c.ini": "[metlog]\nlogger = ${FROM_ENV}\nfilters = severity_max:?severity=4\n"
        "[metlog.sender]\nname = memory\nmax_frame = 999\n[metlog.buffer]\nflush_interval = 0.5\n",
    }[name]
    (tmp_path / name).write_text(text)
    for given in (tmp_path / name, str(tmp_path / name)):
        made = plan(gather(given))
        assert made.logger == "svc"
        assert made.sender is not None
        assert (made.sender.name, made.sender.options) == ("memory", {"max_frame": 999})
        assert made.filters[0].options == {"severity": 4}
        assert made.buffer == {"flush_interval": 0.5}


def test_an_applications_own_settings_are_taken_by_prefix() -> None:
    settings = {
        "sqlalchemy.url": "sqlite://",
        "metlog.sender": "memory",
        "metlog.sender.limit": "5",
        "metlog.filters": "severity_max:?severity=4\nseverity_max:?severity=5",
        "metlog.statsd": "false",
        "metlog.disabled_timers": "a, b",
    }
    made = plan(gather(settings))
    assert made.sender is not None
    assert made.sender.options == {"limit": 5}
    assert [item.options["severity"] for item in made.filters] == [4, 5]
    assert made.disabled_timers == {"a", "b"}
    assert made.statsd is False
    assert from_prefixed({"x.sender": "null"}, "x.") == {"sender": "null"}
    assert from_prefixed({"x.fields.1": "a", "x.fields.0": "b"}, "x.") == {"fields": ["b", "a"]}
    for key in ("²", "9" * 5000):
        assert from_prefixed({f"x.fields.{key}": "a"}, "x.") == {"fields": {key: "a"}}


def test_the_environment_configures_without_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('logger = "file"\nsender = "null"\n')
    monkeypatch.setenv("METLOG_CONFIG", str(tmp_path / "m.toml"))
    monkeypatch.setenv("METLOG_SENDER", "memory:?limit=3")
    monkeypatch.setenv("METLOG_BUFFER__FLUSH_INTERVAL", "0.25")
    client = metlog.configure()
    assert client.sender.frames.maxlen == 3
    assert client._state.pipeline.logger == "file"  # type: ignore[union-attr]


def settings_file(folder: Path, text: str, name: str = "c.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_variables_in_a_file_have_defaults_and_dollars_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("UNSET_HERE", raising=False)
    toml = settings_file(tmp_path, 'logger = "${UNSET_HERE:-x}$${y}"\nsender = "null"\n')
    ini = settings_file(tmp_path, "[metlog]\nlogger = ${UNSET_HERE:-x}$${y}\nsender = null\n", "c.ini")
    assert [plan(gather(path)).logger for path in (toml, ini)] == ["x${y}"] * 2


SECRET = "pa$$word-${HOME}-0123456789"


def test_what_comes_from_python_or_the_environment_is_meant_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A secret may hold a dollar sign, and so may a field."""
    table: dict[str, Any] = {
        "sender": {"name": "http", "host": "127.0.0.1", "port": 1, "token": SECRET},
        "fields": {"template": "${name}"},
    }
    made = plan(gather(table))
    assert made.sender is not None
    assert made.sender.options["token"] == SECRET
    assert made.fields == {"template": "${name}"}
    flat = plan(gather({"metlog.sender": "http", "metlog.sender.port": 1, "metlog.sender.token": SECRET}))
    assert flat.sender is not None
    assert flat.sender.options["token"] == SECRET
    monkeypatch.setenv("METLOG_CONFIG", settings_file(tmp_path, 'fields = {from_file = "${A_SECRET}"}\n'))
    monkeypatch.setenv("A_SECRET", SECRET)
    monkeypatch.setenv("METLOG_SENDER", "http://127.0.0.1:1")
    monkeypatch.setenv("METLOG_SENDER__TOKEN", SECRET)
    found = plan(gather())
    assert found.sender is not None
    assert found.sender.options["token"] == SECRET
    assert found.fields == {"from_file": SECRET}  # once, and not again what stands in it


def test_the_environment_adds_to_the_tables_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        '[metlog]\nsender = "memory:?limit=3"\nencoder = {name = "text", color = "never"}\n'
        "[metlog.buffer]\nmax_bytes = 5000\nflush_interval = 1\n[metlog.fields]\nregion = 'eu'\n"
    )
    monkeypatch.setenv("METLOG_CONFIG", str(tmp_path / "m.toml"))
    monkeypatch.setenv("METLOG_BUFFER__FLUSH_INTERVAL", "0.25")
    monkeypatch.setenv("METLOG_FIELDS__ZONE", "a")
    monkeypatch.setenv("METLOG_SENDER__MAX_FRAME", "999")
    monkeypatch.setenv("METLOG_ENCODER", "msgpack")
    monkeypatch.setenv("METLOG_FILTERS", "severity_max:?severity=6, redact:?drop=a,b&mask=email")
    made = plan(gather())
    assert made.buffer == {"max_bytes": 5000, "flush_interval": 0.25}
    assert made.fields == {"region": "eu", "zone": "a"}
    assert made.sender is not None
    assert made.sender.options == {"limit": 3, "max_frame": 999}
    assert made.encoder is not None
    assert (made.encoder.name, made.encoder.options) == ("msgpack", {})
    assert [(item.name, item.options) for item in made.filters] == [
        ("severity_max", {"severity": 6}),
        ("redact", {"drop": ["a", "b"], "mask": ["email"]}),
    ]


def test_keywords_add_to_the_tables_of_a_file_and_a_named_component_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('sender = {name = "udp", port = 7}\nbuffer = {max_bytes = 5000}\n')
    found = gather(tmp_path / "m.toml", {"buffer": {"max_frame": 100}, "sender": {"name": "null"}})
    assert found == {"sender": {"name": "null"}, "buffer": {"max_bytes": 5000, "max_frame": 100}}
    assert gather(tmp_path / "m.toml", {"sender": {"port": 8}})["sender"] == {"name": "udp", "port": 8}


def test_a_misspelt_variable_is_told_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METLOG_LOGER", "sync")
    monkeypatch.setenv("METLOG_BUFER__MAX_BYTES", "5000")
    monkeypatch.setenv("METLOG_DATA", "/somewhere")  # means something to the commands
    monkeypatch.setenv("METLOG_WAREHOUSE", "x")  # somebody else's
    assert sorted(problems()) == [
        "METLOG_BUFER__MAX_BYTES = '5000': no such setting; did you mean METLOG_BUFFER__MAX_BYTES?",
        "METLOG_LOGER = 'sync': no such setting; did you mean METLOG_LOGGER?",
    ]


def test_a_variable_that_the_file_uses_is_not_taken_for_a_misspelt_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "m.toml").write_text('sender = "null"\nlogger = "${METLOG_LOGGERS:-x}"\n')
    monkeypatch.setenv("METLOG_CONFIG", str(tmp_path / "m.toml"))
    monkeypatch.setenv("METLOG_LOGGERS", "mine")
    assert plan(gather()).logger == "mine"


def test_a_wrong_file_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METLOG_CONFIG", "/nowhere/m.toml")
    (line,) = problems()
    assert line.startswith("METLOG_CONFIG = '/nowhere/m.toml': ")
    assert "No such file" in line


PASTE = """
[DEFAULT]
debug = false
metlog.logger = shop

[app:main]
use = egg:shop
sqlalchemy.url = postgresql://u:p%40ss@db/shop
metlog.sender = tee
metlog.sender.senders.0 = file:?path=%(here)s/events.ndjson&mode=0600
metlog.sender.senders.1.sender = memory
metlog.sender.senders.1.sender.limit = 7
metlog.sender.senders.1.filters = type_deny:?types=debug
metlog.filters.0.name = redact
metlog.filters.0.drop = password, **.token
metlog.filters.1.name = type_severity_max
metlog.filters.1.types.Noisy = 4
metlog.fields.Region = eu
metlog.buffer.flush_interval = 0.5
metlog.disabled_timers =
    slow one
    slower

[handler_console]
args = (sys.stderr,)
format = %(asctime)s %(message)s
"""


def test_keys_inside_an_applications_own_ini(tmp_path: Path) -> None:
    (tmp_path / "production.ini").write_text(PASTE)
    client = MetlogClient.from_config(tmp_path / "production.ini")
    first, second = client.branches
    client.log("Noisy", severity=5)
    client.log("login", fields={"password": "x", "a": {"token": "y"}, "user": "u"}, severity=5)
    assert client.flush(5)
    assert second.sender.frames.maxlen == 7  # type: ignore[attr-defined]
    (event,) = second.sender.events  # type: ignore[attr-defined]
    assert (event.type, event.logger, event.fields) == ("login", "shop", {"Region": "eu", "a": {}, "user": "u"})
    assert client.timer("slow one").result is client.timer("slower").result is None
    assert client.timer_disabled("slow one")
    assert client.timer_disabled("slower")
    client.close()
    assert '"login"' in (tmp_path / "events.ndjson").read_text()
    assert (tmp_path / "events.ndjson").stat().st_mode & 0o777 == 0o600
    assert first.stats().sent == 1


def test_an_ini_section_is_not_mixed_with_defaults_of_others(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text(
        "[DEFAULT]\nhere = /x\n[metlog]\nsender = null\nlogger = a\n[metlog.fields]\nX = 1\n"
    )
    made = plan(gather(tmp_path / "a.ini"))
    assert (made.logger, made.fields) == ("a", {"X": "1"})


def test_a_path_needs_no_suffix_when_it_has_a_folder(tmp_path: Path) -> None:
    (tmp_path / "production").write_text("\ufeff[metlog]\nsender = null\nlogger = a\n", "utf-8")
    assert plan(gather(str(tmp_path / "production"))).logger == "a"
    (line,) = problems("productoin")
    assert line == f"sender = 'productoin': no such sender; {line.partition('; ')[2]}"
    (line,) = problems("no file")
    assert "neither a name nor a URL" in line


def test_a_url_without_slashes_is_told_to_have_them() -> None:
    for spec in ("udp:127.0.0.1:5565", "udp:logs.example"):
        (line,) = problems(spec)
        assert line == f"sender.path: sender 'udp' has no such option; write {spec.replace(':', '://', 1)}"
    (line,) = problems("udp:///x")
    assert "did you mean 'port'?" in line


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("On", True), ("1", True), ("off", False), ("no", False)])
def test_truth_values_are_those_of_ini_files(word: str, value: bool) -> None:
    made = plan({"sender": {"name": "zmq", "bind": word}})
    assert made.sender is not None
    assert made.sender.options == {"bind": value}
    made.discard()


def test_lists_are_written_with_commas_or_lines() -> None:
    for text in ("a,b", "a, b", "\na\nb\n"):
        made = plan({"sender": "null", "filters": [{"name": "type_deny", "types": text}]})
        assert made.filters[0].options == {"types": ["a", "b"]}


def test_a_url_may_be_the_name_of_a_table() -> None:
    made = plan({"sender": {"name": "memory:?limit=3&max_frame=100", "max_frame": 200}})
    assert made.sender is not None
    assert made.sender.options == {"limit": 3, "max_frame": 200}


def test_variables_are_put_in_once_also_in_a_branch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NESTED", "${NOT_A_VARIABLE}")
    path = settings_file(
        tmp_path,
        """[sender]
name = "tee"
senders = [{sender = "null", filters = [{name = "type_deny", types = ["$${LITERAL}", "${NESTED}"]}]}]
""",
    )
    made = plan(gather(path))
    assert made.branches is not None
    (branch,) = made.branches
    assert branch.filters[0].options == {"types": ["${LITERAL}", "${NOT_A_VARIABLE}"]}


def test_unset_variables_are_all_told_with_their_keys(tmp_path: Path) -> None:
    path = settings_file(
        tmp_path, 'logger = "${NO_A}"\nfilters = ["${NO_C}"]\n[sender]\nname = "udp"\nhost = "${NO_B}"\n'
    )
    with pytest.raises(ConfigError) as raised:
        gather(path)
    found = raised.value.problems
    for key, name in (("logger", "NO_A"), ("sender.host", "NO_B"), ("filters[0]", "NO_C")):
        assert any(line.startswith(f"{key} = '${{{name}}}'") and f"${{{name}:-default}}" in line for line in found)


@pytest.mark.parametrize(
    "settings",
    [
        {"sender": {"name": "http", "token": ["hunter2"]}},
        {"sender": {"name": "http", "toke": "x", "token": 5, "secret_key": "hunter2"}},
        {"sender": "http://h?token=hunter2#x"},
        {"sender": "http://h?token=hunter2&tokn=x"},
        {"encoder": {"name": "signed", "key": "hunter2"}},
        {"filters": {"name": "redact", "key": "hunter2hunter2hunter2"}},
        {"filters": [{"name": "redact", "pseudonymize": ["u"], "key": "hunter2"}]},
        {"password": "hunter2"},
    ],
)
def test_no_error_repeats_a_secret(settings: dict[str, Any]) -> None:
    found = problems(settings)
    assert found
    assert "hunter2" not in "\n".join(found)


def test_objects_are_taken_as_components() -> None:
    sender = MemorySender()

    def no_debug(event: Event) -> Event | None:
        return event if event.severity < 7 else None

    client = MetlogClient.from_config(sender=sender, filters=[no_debug], encoder=JsonEncoder())
    client.log("a", severity=7)
    client.log("b")
    assert client.flush(5)
    assert client.sender is sender
    assert [event.type for event in sender.events] == ["b"]
    client.close()
    (line,) = problems({"sender": object()})
    assert "wants a name, a URL or a table" in line


def test_a_frame_larger_than_the_transport_carries_is_refused() -> None:
    (line,) = problems({"sender": "udp://127.0.0.1:5565", "buffer": {"max_frame": 100_000}})
    assert line.startswith("buffer.max_frame = 100000: the sender 'udp' carries at most 65507 bytes")
    plan({"sender": "udp://127.0.0.1:5565", "buffer": {"max_frame": 65_507}}).discard()
    plan({"sender": "tcp://127.0.0.1:5565", "buffer": {"max_frame": 100_000}}).discard()


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [("a.toml", "[metlog\n", "not TOML"), ("a.ini", "x\n", "not INI"), ("a.ini", "[other]\na = 1\n", "[metlog]")],
)
def test_a_broken_file_is_named(name: str, text: str, word: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    (line,) = problems(tmp_path / name)
    assert word in line
    assert name in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "none.toml")[0]


def test_tee_faults_name_the_branch() -> None:
    spec = {"name": "tee", "senders": ["null", {"sender": "nul", "filters": ["x"]}, {"sender": "null", "logger": "a"}]}
    with pytest.raises(ConfigError) as caught:
        MetlogClient.from_config({"sender": spec})
    found = caught.value.problems
    assert len(found) == 3
    assert found[0].startswith("sender.senders[1].sender = 'nul'")
    assert found[1].startswith("sender.senders[1].filters[0] = 'x'")
    assert found[2].startswith("sender.senders[2].logger")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"inputs": [], "outputs": []},
            r"^inputs, outputs: this is the configuration of a listener, for `metlog listen",
        ),
        ({"tokens": [], "port": 1}, "^tokens: this is the configuration of the page, for `metlog serve"),
        ({"logger": "x", "journal": {}}, "^journal: this is the configuration of a listener"),
    ],
)
def test_the_configuration_of_another_program_is_told_as_that(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        plan(settings)
    assert len(caught.value.problems) == 1


def statsd_of(made: Any) -> tuple[Any, ...] | None:
    settings = made.statsd
    return settings and (settings.transport, settings.host, settings.port, settings.prefix)


@pytest.mark.parametrize("word", ["false", "Off", "no", "0", ""])
def test_statsd_is_off_by_a_word_wherever_it_stands(word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATSD_HERE", word)
    toml = settings_file(tmp_path, 'sender = "null"\nstatsd = "${STATSD_HERE}"\n')
    ini = settings_file(tmp_path, "[metlog]\nsender = null\nstatsd = ${STATSD_HERE}\n", "c.ini")
    for settings in (
        toml,
        ini,
        {"sender": "null", "statsd": word},
        {"metlog.statsd": word, "metlog.statsd.prefix": "p"},
    ):
        assert plan(gather(settings)).statsd is False


@pytest.mark.parametrize(
    ("in_file", "variables", "found"),
    [
        ('statsd = "tcp://127.0.0.9:1"', {"__PREFIX": "p"}, ("tcp", "127.0.0.9", 1, "p")),
        ('statsd = "false"', {"__HOST": "127.0.0.9"}, ("udp", "127.0.0.9", 8125, "")),
        ("statsd = true", {"__HOST": "127.0.0.9"}, ("udp", "127.0.0.9", 8125, "")),
        ("", {"": "tcp://127.0.0.9:1", "__PREFIX": "p", "__PORT": "2"}, ("tcp", "127.0.0.9", 2, "p")),
        ("", {"": "true", "__PREFIX": "p"}, ("udp", "localhost", 8125, "p")),
        ("", {"": "false", "__PREFIX": "p"}, False),
    ],
)
def test_options_of_statsd_join_its_url(
    in_file: str, variables: dict[str, str], found: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("METLOG_CONFIG", settings_file(tmp_path, f'sender = "null"\n{in_file}\n'))
    for key, value in variables.items():
        monkeypatch.setenv(f"METLOG_STATSD{key}", value)
    assert statsd_of(plan(gather())) == found


def test_a_word_beside_options_of_statsd_that_is_none_is_told() -> None:
    assert problems({"metlog.statsd": "often", "metlog.statsd.prefix": "p"}) == [
        "statsd = 'often': wants false, true, a URL such as udp://localhost:8125?prefix=app, or a table "
        "with host, port, prefix"
    ]


@pytest.mark.parametrize("keys", [("fields", "fields.a"), ("fields.a.b", "fields.a"), ("buffer", "buffer.max_frame")])
def test_a_value_beside_a_table_of_the_same_name_makes_no_field_called_name(keys: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"metlog.{keys[1]}: stands beside another key"):
        gather({f"metlog.{key}": "1" for key in keys})


def test_a_callable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METLOG_ON_DROP", "print")
    assert problems() == ["METLOG_ON_DROP: a callable is wanted there; set on_drop in Python"]


def test_seconds_at_the_end_are_written_as_others() -> None:
    assert plan({"exit_timeout": "500ms"}).exit_timeout == 0.5
    assert plan({"exit_timeout": 0}).exit_timeout == 0
    assert problems({"exit_timeout": "2h"}) == ["exit_timeout = 7200.0: wants 0 to 3600 seconds"]
    assert problems({"exit_timeout": "soon"}) == [
        """exit_timeout = 'soon': wants seconds, as 60 or "60s", "5m", "7d\""""
    ]
